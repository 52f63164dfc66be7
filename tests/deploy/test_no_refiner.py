"""The component for a checkpoint without a refiner."""

from __future__ import annotations

from pathlib import Path

from sdxl.config.settings import Settings
from tests.deploy.manifests import Built, kustomize_with


def test_it_takes_the_refiner_away(tmp_path: Path) -> None:
    built = Built(kustomize_with(tmp_path, "no-refiner"))
    assert {workload.name for workload in built.workloads} == {"sdxl-entry", "sdxl-base"}
    names = {each["metadata"]["name"] for each in built.objects if each["kind"] != "NetworkPolicy"}
    assert not [name for name in names if "refiner" in name]
    (entry,) = [each for each in built.of("ConfigMap") if each["metadata"]["name"].startswith("sdxl-entry")]
    settings = Settings.from_environment({k: v for k, v in entry["data"].items() if k.startswith("SDXL_")})
    assert not settings.has_refiner
