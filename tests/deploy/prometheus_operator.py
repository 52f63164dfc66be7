"""The Prometheus Operator's PodMonitor and PrometheusRule as its API reference has them
(https://prometheus-operator.dev/docs/api-reference/api): the fields used here, and no others.
Their CRDs are not among Kubernetes' own schemas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Duration = Annotated[str, Field(pattern=r"^(\d+(ms|[smhdwy]))+$", strict=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Selector(_Strict):
    matchLabels: Annotated[dict[str, str], Field(min_length=1)]


class PodMetricsEndpoint(_Strict):
    port: str
    """The name of a container's port."""
    path: str
    interval: Duration


class PodMonitorSpec(_Strict):
    selector: Selector
    podTargetLabels: list[str] = []
    podMetricsEndpoints: Annotated[list[PodMetricsEndpoint], Field(min_length=1)]


class PodMonitor(_Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PodMonitor"]
    metadata: dict[str, Any]
    spec: PodMonitorSpec


class Alert(_Strict):
    alert: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
    expr: Annotated[str, Field(min_length=1)]
    for_: Annotated[Duration, Field(alias="for")] = "0s"
    labels: dict[str, str]
    annotations: dict[str, str]


class Group(_Strict):
    name: str
    rules: Annotated[list[Alert], Field(min_length=1)]


class PrometheusRuleSpec(_Strict):
    groups: list[Group]


class PrometheusRule(_Strict):
    apiVersion: Literal["monitoring.coreos.com/v1"]
    kind: Literal["PrometheusRule"]
    metadata: dict[str, Any]
    spec: PrometheusRuleSpec


KINDS = ("PodMonitor", "PrometheusRule")
