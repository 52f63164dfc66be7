"""The component for a checkpoint without a refiner."""

from __future__ import annotations

from pathlib import Path

from sdxl.config.settings import MINI, Settings
from tests.deploy.manifests import Built, kustomize_with


def test_it_takes_the_refiner_away(tmp_path: Path) -> None:
    built = Built(kustomize_with(tmp_path, "no-refiner"))
    assert {workload.name for workload in built.workloads} == {"sdxl-entry", "sdxl-base"}
    names = {each["metadata"]["name"] for each in built.objects if each["kind"] != "NetworkPolicy"}
    assert not [name for name in names if "refiner" in name]
    for workload in built.workloads:
        ours = {k: v for k, v in workload.environment.items() if k.startswith("SDXL_")}
        here = {} if workload.name == "sdxl-entry" else {"SDXL_BASE": str(MINI / "base")}  # a pod's /weights isn't here
        assert not Settings.from_environment({**ours, **here}).has_refiner
