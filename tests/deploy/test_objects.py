"""The objects are valid for Kubernetes, refer to what exists, and leave their pods no rights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from sdxl.config.ending import TERMINATION_LOG
from sdxl.version import VERSION
from tests.deploy.keda import ScaledObject
from tests.deploy.manifests import FROM_SECRET, KUBERNETES, Built, Object
from tests.deploy.prometheus_operator import KINDS
from tests.service.server import ROOT

GUIDE = (ROOT / "docs" / "guides" / "kubernetes.md").read_text()
BY_HAND = ("fill-weights.yaml", "models-volume.yaml", "prometheus-adapter.yaml")
FILES = sorted(KUBERNETES.rglob("*.yaml"))
OLDEST, NEWEST = "1.30", "1.37"  # versions of Kubernetes


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_every_file_is_used_by_a_kustomization(path: Path) -> None:
    assert list(yaml.safe_load_all(path.read_text()))
    if path.name not in ("kustomization.yaml", *BY_HAND):
        assert path.name in (path.parent / "kustomization.yaml").read_text()


@pytest.mark.parametrize("name", BY_HAND)
def test_the_guide_or_its_component_names_what_is_applied_by_hand(name: str) -> None:
    assert name in GUIDE + (KUBERNETES / "components" / "hpa" / "kustomization.yaml").read_text()


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_pod_that_fills_the_volume_is_valid(version: str) -> None:
    pod = yaml.safe_load((KUBERNETES / "fill-weights.yaml").read_text())
    kubernetes_validate.validate(pod, version, strict=True)
    (claim,) = list(yaml.safe_load_all((KUBERNETES / "base" / "weights.yaml").read_text()))
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_knows_every_field(built: Built, version: str) -> None:
    for found in built.objects:
        if found["kind"] not in ("ScaledObject", *KINDS):
            kubernetes_validate.validate(found, version, strict=True)


def test_names_are_there_once(built: Built) -> None:
    names = [(found["kind"], found["metadata"]["name"]) for found in built.objects]
    assert len(set(names)) == len(names)
    in_it = [found for found in built.objects if found["kind"] != "Namespace"]
    assert {found["metadata"].get("namespace") for found in in_it} == {"sdxl-relay"}
    assert not built.of("Secret"), "a secret's value has no place here"


def test_keda_knows_every_field(built: Built) -> None:
    for found in built.of("ScaledObject"):
        spec = ScaledObject.model_validate(found).spec
        assert 1 <= spec.minReplicaCount <= spec.maxReplicaCount
        kubernetes_validate.validate(
            _autoscaler(spec.advanced.horizontalPodAutoscalerConfig.behavior), NEWEST, strict=True
        )


def _autoscaler(behavior: dict[str, Any]) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "any"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "any"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 2, "behavior": behavior},
    }


def test_selectors_mean_pods(built: Built) -> None:
    for workload in built.workloads:
        assert built.selected(workload.deployment["spec"]["selector"]["matchLabels"]) == [workload]
        for spread in workload.pod.get("topologySpreadConstraints", []):
            assert built.selected(spread["labelSelector"]["matchLabels"]) == [workload]
    for service in built.of("Service"):
        (workload,) = built.selected(service["spec"]["selector"])
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in workload.ports
    budgets = [built.selected(found["spec"]["selector"]["matchLabels"]) for found in built.of("PodDisruptionBudget")]
    assert sorted(workload.name for (workload,) in budgets) == sorted(workload.name for workload in built.workloads)


def test_autoscalers_scale_what_is_there_and_nobody_else_counts(built: Built) -> None:
    targets = [found["spec"]["scaleTargetRef"]["name"] for found in built.of("ScaledObject")]
    targets += [found["spec"]["scaleTargetRef"]["name"] for found in built.of("HorizontalPodAutoscaler")]
    assert len(set(targets)) == len(targets)
    for name in targets:
        assert "replicas" not in built.named("Deployment", name)["spec"]


def test_references_lead_somewhere(built: Built) -> None:
    for workload in built.workloads:
        assert workload.environment
        volumes = {volume["name"]: volume for volume in workload.pod["volumes"]}
        assert {mount["name"] for mount in workload.container["volumeMounts"]} == set(volumes)
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert built.named("PersistentVolumeClaim", claim["claimName"])
                assert claim["readOnly"]
        for entry in workload.container.get("env", []):
            if secret := entry.get("valueFrom", {}).get("secretKeyRef"):
                assert re.search(rf"create secret generic {secret['name']} .*--from-literal={secret['key']}=", GUIDE)


def test_the_image_is_one_and_has_a_version(built: Built) -> None:
    images = {workload.container["image"] for workload in built.workloads}
    assert images <= {"sdxl-relay", f"registry.example.com/sdxl-relay:{VERSION}"}
    assert len(images) == 1
    for image in images - {"sdxl-relay"}:
        assert image in GUIDE


def test_a_pod_says_why_it_ended(built: Built) -> None:
    for workload in built.workloads:
        path = workload.container.get("terminationMessagePath", "/dev/termination-log")
        assert Path(path) == TERMINATION_LOG
        assert workload.container["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_policies_let_in_who_calls_and_nobody_else(built: Built) -> None:
    """Each workload has one policy for both directions; the ports are those that its pods listen on."""
    policies = [found["spec"] for found in built.of("NetworkPolicy")]
    covered = [built.selected(spec["podSelector"]["matchLabels"]) for spec in policies]
    assert sorted(workload.name for (workload,) in covered) == sorted(workload.name for workload in built.workloads)
    for spec, (workload,) in zip(policies, covered, strict=True):
        assert spec["policyTypes"] == ["Ingress", "Egress"]
        for rule in spec["ingress"]:
            assert rule["from"], "an empty list lets all in"
            assert [port["port"] for port in rule["ports"]] == list(workload.ports.values())
        callers = [
            caller.name
            for rule in spec["ingress"]
            for peer in rule["from"]
            if "podSelector" in peer
            for caller in built.selected(peer["podSelector"]["matchLabels"])
        ]
        assert callers == ([] if workload.name == "sdxl-entry" else ["sdxl-entry"])


def test_the_entry_may_call_the_stages_and_dns(built: Built) -> None:
    for found in built.of("NetworkPolicy"):
        name, spec = found["metadata"]["name"], found["spec"]
        called: set[str] = set()
        for rule in spec["egress"]:
            ports = [port["port"] for port in rule["ports"]]
            pods = [peer["podSelector"]["matchLabels"] for peer in rule["to"] if "podSelector" in peer]
            workloads = [workload for selector in pods for workload in built.selected(selector)]
            assert [port for workload in workloads for port in workload.ports.values()] == (ports if pods else [])
            assert pods or set(ports) == {53}
            called |= {workload.name for workload in workloads}
        assert called == ({"sdxl-base", "sdxl-refiner"} if name == "sdxl-entry" and len(built.workloads) > 1 else set())


def test_labels_of_namespaces_are_documented(built: Built) -> None:
    for label in set(re.findall(r"sdxl-relay/[a-z]+", str(built.of("NetworkPolicy")))):
        assert f"{label}=true" in GUIDE


def test_pods_have_no_rights(built: Built) -> None:
    for workload in built.workloads:
        pod, container = workload.pod, workload.container
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all(mount["mountPath"] == "/tmp" or mount["readOnly"] for mount in container["volumeMounts"])
    namespace = built.named("Namespace", "sdxl-relay")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert FROM_SECRET not in str(built.objects)
