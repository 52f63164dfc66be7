"""What the code says of itself, for the tests of deploy/: its services, its metrics, how BentoML reads bentocloud.yaml.

A process of its own (`python -m tests.deploy.facts`), for the services bring torch, BentoML and its warnings.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.service.server import ROOT, run_module

CLOUD = ROOT / "deploy" / "bentocloud.yaml"


@dataclass(frozen=True)
class Facts:
    services: dict[str, Any]
    """By import string: the service's BentoML name and its routes."""
    metrics: dict[str, list[str]]
    """Metrics as Prometheus sees them, each with its labels."""
    values: dict[str, list[str]]
    """Labels whose values are known from the start, as `metric{label}`, with these values."""
    cloud: dict[str, Any]
    """deploy/bentocloud.yaml as BentoML understands it; what it does not know is left out."""
    uid: int
    """The user of the image that BentoML builds."""
    folder: str
    """The bento's folder in the image."""


def gather(home: Path) -> Facts:
    """Asks a new process."""
    asked = run_module(["tests.deploy.facts"], home, timeout_s=120)
    assert asked.returncode == 0, asked.stderr[-2000:]
    return Facts(**json.loads(asked.stdout.splitlines()[-1]))


def _services() -> dict[str, Any]:
    from _bentoml_impl.server.app import ServiceAppFactory

    from runners.access_log import PROBES
    from runners.base import BaseRunner
    from runners.refiner import RefinerRunner
    from service import SDXLRelay

    services: tuple[Any, ...] = (SDXLRelay, BaseRunner, RefinerRunner)
    found = {}
    for service in services:
        service.inject_config()
        routes = [*(route.path for route in ServiceAppFactory(service).routes), *PROBES]
        found[service.import_string] = {"name": service.name, "routes": routes}
    return found


def _samples() -> list[Any]:
    """What a process counts that has both stages and the entry, and one request of a client."""
    from prometheus_client import REGISTRY

    import_module("docs.reference_pages").make_metrics()
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    return [sample for sample in samples if sample.name.startswith("sdxl_relay_")]


def _metrics(samples: list[Any]) -> dict[str, list[str]]:
    return {sample.name: sorted(sample.labels) for sample in samples}


def _values(samples: list[Any]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        for label, value in sample.labels.items():
            found[f"{sample.name}{{{label}}}"].add(value)
    return {name: sorted(values) for name, values in found.items()}


def _cloud() -> dict[str, Any]:
    import yaml
    from _bentoml_sdk.service.config import validate
    from bentoml._internal.cloud.deployment import DeploymentAPI
    from bentoml._internal.cloud.schemas.schemasv2 import CreateDeploymentSchema
    from bentoml._internal.utils.cattr import bentoml_cattr

    given = yaml.safe_load(CLOUD.read_text())
    understood = bentoml_cattr.structure({**given, "bento": "sdxl-relay:latest"}, CreateDeploymentSchema)
    DeploymentAPI._fix_and_validate_schema(understood)
    for service in understood.services.values():
        validate(service.config_overrides)
    kept: dict[str, Any] = bentoml_cattr.unstructure(understood)
    del kept["bento"]
    return kept


def _main() -> None:
    from bentoml._internal.container.generate import DEFAULT_BENTO_ENVS

    services, samples = _services(), _samples()
    facts = Facts(
        services,
        _metrics(samples),
        _values(samples),
        _cloud(),
        int(DEFAULT_BENTO_ENVS["uid_gid"]),
        str(DEFAULT_BENTO_ENVS["path"]),
    )
    sys.stdout.write("\n" + json.dumps(vars(facts)) + "\n")


if __name__ == "__main__":
    _main()
