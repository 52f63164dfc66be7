"""What the manifests say of the server is so: settings, commands, ports, routes, metrics, times."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

import pytest
import yaml

from sdxl.config.settings import PREFIX, Settings
from tests.deploy.facts import Facts
from tests.deploy.keda import ScaledObject
from tests.deploy.manifests import KUBERNETES, Built, Object, Workload
from tests.service.server import ROOT

# What the manifests need of the settings, under the names that the code gives them.
NEEDED = {"base", "refiner", "base_url", "refiner_url", "device", "drain_s", "runner_token", "api_keys"}
NOT_OURS = {"BENTOML_HOME", "BENTOML_DO_NOT_TRACK", "HF_HUB_OFFLINE", "OMP_NUM_THREADS"}
STAGES = {"base": "runners.base:BaseRunner", "refiner": "runners.refiner:RefinerRunner"}
MARGIN_S = 10  # for BentoML to stop its processes
LOADING_S = 600  # that a runner may take for its weights, at least
PATIENCE_S = 60  # of silence, before a runner may be taken for dead


def test_the_settings_have_the_names_used_here() -> None:
    assert set(Settings.model_fields) >= NEEDED


def test_environments_are_settings(built: Built) -> None:
    for workload in built.workloads:
        ours = {name: value for name, value in workload.environment.items() if name.startswith(PREFIX)}
        assert workload.environment.keys() - ours.keys() <= NOT_OURS
        for name in ("SDXL_BASE", "SDXL_REFINER"):
            if folder := ours.pop(name, None):  # is not on this machine
                assert any(folder.startswith(f"{mount['mountPath']}/") for mount in workload.container["volumeMounts"])
        Settings.from_environment(ours)


def test_no_variables_that_kubernetes_makes_of_services(built: Built) -> None:
    """A Service sdxl-base would give pods SDXL_BASE_PORT, at which the server ends: it is not a setting."""
    assert all(workload.pod["enableServiceLinks"] is False for workload in built.workloads)


def test_commands_serve_what_is_there(built: Built, facts: Facts) -> None:
    for workload in built.workloads:
        assert workload.import_string in facts.services
        assert workload.container["workingDir"] == f"{facts.folder}/src"
        assert "command" not in workload.container, "would replace the image's entrypoint"
        assert workload.options == {"--host": "0.0.0.0", "--port": str(workload.ports["http"])}
        assert workload.annotations["prometheus.io/port"] == workload.options["--port"]
        assert workload.annotations["prometheus.io/path"] in facts.services[workload.import_string]["routes"]


def test_the_user_is_the_images_and_can_write_where_bentoml_does(built: Built, facts: Facts) -> None:
    for workload in built.workloads:
        assert workload.pod["securityContext"]["runAsUser"] == facts.uid
        (scratch,) = [volume["name"] for volume in workload.pod["volumes"] if "emptyDir" in volume]
        (mount,) = [mount for mount in workload.container["volumeMounts"] if mount["name"] == scratch]
        assert mount["mountPath"] == "/tmp"
        assert workload.environment["BENTOML_HOME"].startswith("/tmp/")


def test_probes_ask_routes(built: Built, facts: Facts) -> None:
    for workload in built.workloads:
        container, routes = workload.container, facts.services[workload.import_string]["routes"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["path"] in routes
            assert container[probe]["httpGet"]["port"] in workload.ports
            assert container[probe]["timeoutSeconds"] <= container[probe]["periodSeconds"]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_only_the_entry_has_the_api_keys(built: Built) -> None:
    assert [workload.name for workload in built.workloads if "SDXL_API_KEYS" in workload.environment] == ["sdxl-entry"]


def test_addresses_of_the_stages_are_their_services(built: Built) -> None:
    (entry,) = [workload for workload in built.workloads if workload.name == "sdxl-entry"]
    if len(built.workloads) == 1:  # it starts the stages itself
        assert not {"SDXL_BASE_URL", "SDXL_REFINER_URL", "SDXL_RUNNER_TOKEN"} & entry.environment.keys()
        return
    for stage, import_string in STAGES.items():
        url = urlsplit(entry.environment[f"SDXL_{stage.upper()}_URL"])
        spec = built.named("Service", str(url.hostname))["spec"]
        (workload,) = built.selected(spec["selector"])
        assert workload.import_string == import_string
        assert workload.environment["SDXL_RUNNER_TOKEN"] == entry.environment["SDXL_RUNNER_TOKEN"]
        assert spec["clusterIP"] == "None", "one address would hide the replicas from the entry"
        assert not spec.get("publishNotReadyAddresses")
        (port,) = spec["ports"]
        # A headless Service has no proxy that would turn its port into the pods'.
        assert url.port == port["port"] == workload.ports[port["targetPort"]]


def test_pods_have_time_to_drain(built: Built) -> None:
    for workload in built.workloads:
        drain_s = float(workload.environment["SDXL_DRAIN_S"])
        assert workload.pod["terminationGracePeriodSeconds"] >= _pre_stop_s(workload) + drain_s + MARGIN_S
        if workload.name == "sdxl-entry":
            assert drain_s >= Settings.model_fields["timeout_s"].default
            readiness = workload.container["readinessProbe"]
            assert _pre_stop_s(workload) >= readiness["periodSeconds"]


def _pre_stop_s(workload: Workload) -> float:
    hook = workload.container.get("lifecycle", {}).get("preStop")
    if hook is None:
        return 0.0
    program, seconds = hook["exec"]["command"]
    assert program == "sleep"
    return float(seconds)


def test_runners_have_time_to_load_and_are_not_killed_when_busy(built: Built) -> None:
    runners = [
        workload for workload in built.workloads if "nvidia.com/gpu" in workload.container["resources"]["limits"]
    ]
    assert runners
    for workload in runners:
        loading_s = _budget_s(workload.container["startupProbe"])
        assert loading_s >= LOADING_S
        assert workload.deployment["spec"]["progressDeadlineSeconds"] > loading_s
        assert _budget_s(workload.container["livenessProbe"]) >= PATIENCE_S
        assert workload.environment["OMP_NUM_THREADS"].isdigit()


def _budget_s(probe: Object) -> int:
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def test_uploads_fit_the_disk(built: Built) -> None:
    fields = Settings.model_fields
    held_gb = fields["max_requests"].default * fields["max_upload_mb"].default / 1_000
    (entry,) = [workload for workload in built.workloads if workload.name == "sdxl-entry"]
    (volume,) = [volume for volume in entry.pod["volumes"] if "emptyDir" in volume]
    assert float(volume["emptyDir"]["sizeLimit"].removesuffix("Gi")) * 2**30 >= 2 * held_gb * 10**9


def test_autoscalers_ask_for_metrics_that_are_there(built: Built, facts: Facts) -> None:
    max_jobs = Settings.model_fields["max_jobs"].default
    for found in built.of("ScaledObject"):
        spec = ScaledObject.model_validate(found).spec
        (trigger,) = spec.triggers
        stage = built.named("Deployment", spec.scaleTargetRef.name)["metadata"]["labels"]["app.kubernetes.io/component"]
        assert f'stage="{stage}"' in trigger.metadata.query
        _check_query(trigger.metadata.query, facts)
        # There is room for what arrives while a new replica loads.
        assert float(trigger.metadata.threshold) <= max_jobs / 4
    for found in built.of("HorizontalPodAutoscaler"):
        for metric in found["spec"]["metrics"]:
            if metric["type"] == "Pods":
                assert metric["pods"]["metric"]["name"] in facts.metrics
                assert float(metric["pods"]["target"]["averageValue"]) <= max_jobs / 4


def test_the_adapter_makes_a_metric_of_one_that_is_there(facts: Facts) -> None:
    (rule,) = yaml.safe_load((KUBERNETES / "components/hpa/prometheus-adapter.yaml").read_text())["rules"]["custom"]
    _check_query(rule["seriesQuery"], facts, prometheus_labels=("namespace", "pod"))


def _check_query(query: str, facts: Facts, prometheus_labels: Iterable[str] = ()) -> None:
    selectors = re.findall(r"(sdxl_relay_\w+)\{([^}]*)\}", query)
    assert selectors
    for name, labels in selectors:
        asked = set(re.findall(r"(\w+)!?=", labels))
        assert asked <= {*facts.metrics[name], *prometheus_labels}


@pytest.mark.parametrize("stage", STAGES)
def test_the_guide_names_the_commands(stage: str) -> None:
    guide = (ROOT / "docs" / "guides" / "kubernetes.md").read_text()
    assert f"bentoml serve {STAGES[stage]}" in guide
