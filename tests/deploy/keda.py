"""KEDA's ScaledObject as its documentation has it (https://keda.sh/docs/latest/reference/scaledobject-spec):
the fields used here, and no others. Its CRD is not among Kubernetes' own schemas."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl

Count = Annotated[int, Field(ge=0, strict=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ScaleTarget(_Strict):
    name: str
    kind: Literal["Deployment"] = "Deployment"
    apiVersion: Literal["apps/v1"] = "apps/v1"


class AutoscalerConfig(_Strict):
    behavior: dict[str, Any]
    """That of autoscaling/v2's HorizontalPodAutoscaler, to which KEDA hands it over."""


class Advanced(_Strict):
    horizontalPodAutoscalerConfig: AutoscalerConfig


class Prometheus(_Strict):
    """A trigger's metadata: strings, all of them."""

    serverAddress: HttpUrl
    query: str
    threshold: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$", strict=True)]
    ignoreNullValues: Literal["true", "false"] = "true"


class Trigger(_Strict):
    type: Literal["prometheus"]
    metadata: Prometheus
    metricType: Literal["AverageValue", "Value"] = "AverageValue"


class Spec(_Strict):
    scaleTargetRef: ScaleTarget
    pollingInterval: Count = 30
    cooldownPeriod: Count = 300
    minReplicaCount: Count = 0
    maxReplicaCount: Count = 100
    advanced: Advanced
    triggers: Annotated[list[Trigger], Field(min_length=1)]


class ScaledObject(_Strict):
    apiVersion: Literal["keda.sh/v1alpha1"]
    kind: Literal["ScaledObject"]
    metadata: dict[str, Any]
    spec: Spec
