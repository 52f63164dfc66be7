"""What Prometheus is told: pods that are there, and alerts about metrics, labels and values that the services have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deploy.facts import Facts
from tests.deploy.manifests import KUBERNETES, Built, kustomize, kustomize_with
from tests.deploy.prometheus_operator import Alert, PodMonitor, PrometheusRule
from tests.service.server import ROOT

GUIDE = (ROOT / "docs" / "guides" / "kubernetes.md").read_text()
OF_PROMETHEUS = {"namespace", "pod"}  # labels that it gives to every series of a pod
SELECTOR = re.compile(r"\b(sdxl_relay_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return Built(kustomize_with(tmp_path_factory.mktemp("kustomize"), "hpa", "prometheus-operator"))


@pytest.fixture(scope="module")
def alerts(monitored: Built) -> list[Alert]:
    (found,) = monitored.of("PrometheusRule")
    return [alert for group in PrometheusRule.model_validate(found).spec.groups for alert in group.rules]


def test_every_pod_is_asked_at_its_own_port(monitored: Built, facts: Facts) -> None:
    (found,) = monitored.of("PodMonitor")
    spec = PodMonitor.model_validate(found).spec
    assert monitored.selected(spec.selector.matchLabels) == monitored.workloads
    for workload in monitored.workloads:
        for endpoint in spec.podMetricsEndpoints:
            assert endpoint.port in workload.ports
            assert endpoint.path in facts.services[workload.import_string]["routes"]
        assert set(spec.podTargetLabels) <= set(workload.labels)


def test_alerts_ask_for_metrics_with_labels_and_values_that_are_there(alerts: list[Alert], facts: Facts) -> None:
    for alert in alerts:
        selectors = SELECTOR.findall(alert.expr)
        assert selectors, alert.alert
        for metric, matchers in selectors:
            assert metric in facts.metrics, alert.alert
            asked = MATCHER.findall(matchers)
            assert len(asked) == matchers.count('"') / 2
            for label, sign, value in asked:
                known = facts.values[f"{metric}{{{label}}}"]
                if label == "status":  # any that an answer may have
                    known = [str(status) for status in range(100, 600)]
                pattern = value if "~" in sign else re.escape(value)
                assert any(re.fullmatch(pattern, each) for each in known), (alert.alert, label, value)
                assert label == "status" or all(each in known for each in value.split("|")), (alert.alert, value)


def test_alerts_group_and_speak_by_labels_that_are_there(alerts: list[Alert], facts: Facts) -> None:
    for alert in alerts:
        of_all = set.intersection(*(set(facts.metrics[metric]) for metric, _ in SELECTOR.findall(alert.expr)))
        grouped = set(_grouped(alert.expr))
        assert grouped <= of_all | OF_PROMETHEUS, alert.alert
        told = re.findall(r"\$labels\.(\w+)", str(alert.annotations))
        assert set(told) <= grouped, alert.alert


def _grouped(expression: str) -> Iterator[str]:
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        yield from (label.strip() for label in labels.split(","))


def test_a_rate_is_of_a_counter_and_a_quantile_of_buckets(alerts: list[Alert]) -> None:
    for alert in alerts:
        for metric in re.findall(r"(?:rate|increase)\((\w+)", alert.expr):
            assert metric.endswith(("_total", "_bucket")), alert.alert
        assert ("histogram_quantile" in alert.expr) == ("_bucket" in alert.expr)
        assert alert.expr.count("(") == alert.expr.count(")")


def test_the_guide_says_what_each_alert_is_about(alerts: list[Alert]) -> None:
    names = [alert.alert for alert in alerts]
    assert re.findall(r"^\| `(SDXL\w+)` \|", GUIDE, re.MULTILINE) == names
    assert all(alert.labels["severity"] in ("critical", "warning") and alert.annotations["summary"] for alert in alerts)


def test_a_misspelt_alert_would_be_found(facts: Facts) -> None:
    def alert(expr: str) -> list[Any]:
        return [Alert(alert="A", expr=expr, labels={}, annotations={})]

    for wrong in ("sdxl_relay_job > 1", 'sdxl_relay_jobs{state="wating"} > 1', 'sdxl_relay_jobs{stat="waiting"} > 1'):
        with pytest.raises((AssertionError, KeyError)):
            test_alerts_ask_for_metrics_with_labels_and_values_that_are_there(alert(wrong), facts)


def test_two_kinds_of_nodes_for_two_stages() -> None:
    """Each stage's pods go to nodes of one kind, and may go there."""
    kinds = {}
    for workload in Built(kustomize(KUBERNETES / "overlays" / "two-gpu-types")).workloads:
        if workload.name == "sdxl-entry":
            assert "nodeSelector" not in workload.pod
            continue
        (kinds[workload.name],) = workload.pod["nodeSelector"].items()
        tolerated = {(each["key"], each.get("value")) for each in workload.pod["tolerations"]}
        assert ("nvidia.com/gpu", None) in tolerated
        assert ("sdxl-relay/stage", workload.labels["app.kubernetes.io/component"]) in tolerated
    assert len(set(kinds.values())) == 2
