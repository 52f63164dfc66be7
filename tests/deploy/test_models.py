"""The component for a folder of models: it fits every overlay, and its settings and its volume are there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from sdxl.config.settings import MINI, Settings
from tests.deploy.manifests import KUBERNETES, OVERLAYS, Built, Workload, kustomize
from tests.service.server import ROOT

OLDEST, NEWEST = "1.30", "1.37"  # versions of Kubernetes
GUIDE = (ROOT / "docs" / "guides" / "kubernetes.md").read_text()
FOLDER = "/models"
GIB = 2**30
LOADING_BYTES = 7 * 10**9  # of a model of SDXL in float16, on its way to the GPU
HERE = {"SDXL_BASE": str(MINI / "base"), "SDXL_REFINER": str(MINI / "refiner"), "SDXL_BASE_CONFIG": str(MINI / "base")}
"""In place of a pod's /weights."""


def built_from(overlay: str, scratch: Path, *components: str) -> Built:
    """An overlay with components, as the guide has it."""
    scratch.mkdir(exist_ok=True)
    resource, *others = (
        os.path.relpath(KUBERNETES / part, scratch)
        for part in (f"overlays/{overlay}", *(f"components/{name}" for name in components))
    )
    (scratch / "kustomization.yaml").write_text(yaml.safe_dump({"resources": [resource], "components": others}))
    return Built(kustomize(scratch))


def loading(built: Built) -> list[Workload]:
    """Those that have a GPU."""
    return [workload for workload in built.workloads if "nvidia.com/gpu" in workload.container["resources"]["limits"]]


def memory_limit(workload: Workload) -> float:
    """In bytes."""
    return float(workload.container["resources"]["limits"]["memory"].removesuffix("Gi")) * GIB


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_who_loads_models_sees_the_folder_and_nobody_writes_into_it(overlay: str, tmp_path: Path) -> None:
    built = built_from(overlay, tmp_path, "models")
    for found in (*built.of("Deployment"), *built.of("PersistentVolumeClaim")):
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(found, version, strict=True)
    assert loading(built)
    for workload in loading(built):
        (mount,) = [each for each in workload.container["volumeMounts"] if each["mountPath"] == FOLDER]
        (volume,) = [each for each in workload.pod["volumes"] if each["name"] == mount["name"]]
        claim = volume["persistentVolumeClaim"]
        assert mount["readOnly"]
        assert claim["readOnly"]
        assert built.named("PersistentVolumeClaim", claim["claimName"])["spec"]["accessModes"] == ["ReadOnlyMany"]
        assert "/weights" in [each["mountPath"] for each in workload.container["volumeMounts"]]
    for workload in built.workloads:
        if workload in loading(built):
            continue
        assert FOLDER not in str(workload.pod["volumes"]) + str(workload.environment)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_its_settings_and_the_memory_for_them(overlay: str, tmp_path: Path) -> None:
    before = {each.name: memory_limit(each) for each in loading(built_from(overlay, tmp_path / "without"))}
    for workload in loading(built_from(overlay, tmp_path / "with", "models")):
        ours = {name: value for name, value in workload.environment.items() if name.startswith("SDXL_")}
        assert ours["SDXL_MODELS"] == FOLDER
        assert ours["SDXL_BASE_CONFIG"] == ours["SDXL_BASE"]
        settings = Settings.from_environment({**ours, **HERE, "SDXL_MODELS": str(tmp_path)})
        assert settings.ram_gb == 0, "it needs more memory"
        stages = 2 if workload.name == "sdxl-entry" else 1
        assert memory_limit(workload) >= before[workload.name] + stages * LOADING_BYTES


def test_the_volume_made_by_hand_is_the_claims(tmp_path: Path) -> None:
    volume = yaml.safe_load((KUBERNETES / "models-volume.yaml").read_text())
    for version in (OLDEST, NEWEST):
        kubernetes_validate.validate(volume, version, strict=True)
    (claim,) = [
        found
        for found in built_from("gpu-each", tmp_path, "models").of("PersistentVolumeClaim")
        if found["metadata"]["name"] == "sdxl-models"
    ]
    reference = {"namespace": claim["metadata"]["namespace"], "name": claim["metadata"]["name"]}
    assert volume["spec"]["claimRef"] == reference
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
    for field in ("accessModes", "storageClassName"):
        assert claim["spec"][field] == volume["spec"][field]


def test_the_guides_overlay(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n# deploy/kubernetes/overlays/.*?\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    shown = yaml.safe_load(found[1])
    (resource,), (component,) = shown["resources"], shown["components"]
    assert (KUBERNETES / "overlays" / "mine" / component).resolve() == KUBERNETES / "components" / "models"
    assert loading(built_from(Path(resource).name, tmp_path, Path(component).name))
