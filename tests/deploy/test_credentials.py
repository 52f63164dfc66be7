"""The guide's patch for content credentials fits every overlay, and its files and settings are there."""

from __future__ import annotations

import os
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from sdxl.config.settings import Settings
from tests.deploy.manifests import KUBERNETES, OVERLAYS, Built, kustomize
from tests.service.server import ROOT

GUIDE = (ROOT / "docs" / "guides" / "kubernetes.md").read_text()
SECRET = "create secret generic sdxl-c2pa --from-file=chain.pem --from-file=key.pem"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_guides_patch(overlay: str, tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(patches:\n.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    resources = [os.path.relpath(KUBERNETES / "overlays" / overlay, tmp_path)]
    kustomization = {"resources": resources, **yaml.safe_load(found[1])}
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    built = Built(kustomize(tmp_path))
    (entry,) = [workload for workload in built.workloads if workload.name == "sdxl-entry"]
    kubernetes_validate.validate(entry.deployment, "1.30", strict=True)
    settings = Settings.from_environment(
        {name: value for name, value in entry.environment.items() if name.startswith("SDXL_C2PA_")}
    )
    assert SECRET in GUIDE
    (mount,) = [mount for mount in entry.container["volumeMounts"] if mount["name"] == "c2pa"]
    assert mount["readOnly"]
    for path in (settings.c2pa_certificate, settings.c2pa_key):
        assert path is not None
        assert str(path.parent) == mount["mountPath"]
        assert f"--from-file={path.name}" in SECRET
    (volume,) = [volume for volume in entry.pod["volumes"] if volume["name"] == "c2pa"]
    assert volume["secret"] == {"secretName": "sdxl-c2pa"}
