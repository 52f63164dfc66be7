"""What Kustomize builds from deploy/kubernetes, and how its objects refer to each other."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.service.server import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
BUILDS = [*OVERLAYS, "with-hpa"]
"""Every overlay, and the base with components that no overlay has."""
FROM_SECRET = "s" * 64  # stands for a value that is not in the manifests

Object = dict[str, Any]
Labels = Mapping[str, str]


def kustomize(folder: Path) -> list[Object]:
    """The objects that a folder's kustomization gives."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        pytest.skip("needs kubectl or kustomize, to build what is in deploy/kubernetes")
    built = subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def kustomize_with(scratch: Path, *components: str) -> list[Object]:
    """The base with components that no overlay has."""
    parts = ("base", *(f"components/{name}" for name in components))
    base, *others = (os.path.relpath(KUBERNETES / part, scratch) for part in parts)
    kustomization = {"resources": [base], "components": others}
    (scratch / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return kustomize(scratch)


def matches(selector: Labels, labels: Labels) -> bool:
    return bool(selector) and selector.items() <= labels.items()


@dataclass(frozen=True)
class Workload:
    """A Deployment, whose pods have one container."""

    deployment: Object
    objects: Built

    @property
    def name(self) -> str:
        return str(self.deployment["metadata"]["name"])

    @property
    def labels(self) -> Labels:
        found: Labels = self.deployment["spec"]["template"]["metadata"]["labels"]
        return found

    @property
    def annotations(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.deployment["spec"]["template"]["metadata"]["annotations"]
        return found

    @property
    def pod(self) -> Object:
        found: Object = self.deployment["spec"]["template"]["spec"]
        return found

    @property
    def container(self) -> Object:
        (only,) = self.pod["containers"]
        found: Object = only
        return found

    @property
    def ports(self) -> dict[str, int]:
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}

    @property
    def import_string(self) -> str:
        """What `bentoml serve` serves."""
        program, command, target = self.container["args"][:3]
        assert (program, command) == ("bentoml", "serve")
        return str(target)

    @property
    def options(self) -> dict[str, str]:
        """The options of `bentoml serve`, all of which take a value."""
        given = self.container["args"][3:]
        return dict(zip(given[::2], given[1::2], strict=True))

    @property
    def environment(self) -> dict[str, str]:
        """All variables; KeyError for a ConfigMap or a resource that is not there."""
        found: dict[str, str] = {}
        for source in self.container.get("envFrom", []):
            found |= self.objects.named("ConfigMap", source["configMapRef"]["name"])["data"]
        for entry in self.container.get("env", []):
            found[entry["name"]] = entry["value"] if "value" in entry else self._referred(entry["valueFrom"])
        return found

    def _referred(self, reference: Object) -> str:
        if "secretKeyRef" in reference:
            return FROM_SECRET
        group, _, resource = reference["resourceFieldRef"]["resource"].partition(".")
        return str(self.container["resources"][group][resource])


@dataclass(frozen=True)
class Built:
    """What one kustomization gives."""

    objects: list[Object]

    def of(self, kind: str) -> list[Object]:
        return [found for found in self.objects if found["kind"] == kind]

    def named(self, kind: str, name: str) -> Object:
        """KeyError if there is none."""
        return {found["metadata"]["name"]: found for found in self.of(kind)}[name]

    @cached_property
    def workloads(self) -> list[Workload]:
        return [Workload(found, self) for found in self.of("Deployment")]

    def selected(self, selector: Labels) -> list[Workload]:
        """The workloads whose pods a selector means."""
        return [workload for workload in self.workloads if matches(selector, workload.labels)]
