"""BentoCloud's file is one that BentoML understands, for services and settings that are there."""

from __future__ import annotations

from typing import Any

import yaml

from sdxl.config.settings import Settings
from tests.deploy.facts import CLOUD, Facts

GIVEN: dict[str, Any] = yaml.safe_load(CLOUD.read_text())


def test_bentoml_understands_every_field(facts: Facts) -> None:
    """BentoML leaves out what it does not know, so that a slip of the pen would be lost without a word."""
    assert _without_empty(facts.cloud) == _without_empty(GIVEN)


def _without_empty(cloud: dict[str, Any]) -> dict[str, Any]:
    services = {name: {**service} for name, service in cloud["services"].items()}
    return {**cloud, "services": {name: {k: v for k, v in s.items() if v} for name, s in services.items()}}


def test_its_services_are_the_bentos(facts: Facts) -> None:
    assert set(GIVEN["services"]) == {service["name"] for service in facts.services.values()}


def test_its_environments_are_settings() -> None:
    for service in GIVEN["services"].values():
        given = {env["name"]: env["value"] for env in [*GIVEN["envs"], *service.get("envs", [])]}
        assert all(name.startswith("SDXL_") for name in given)
        Settings.from_environment(given)


def test_every_stage_stays_and_is_behind_a_login() -> None:
    assert GIVEN["access_authorization"] is True
    assert all(service["scaling"]["min_replicas"] >= 1 for service in GIVEN["services"].values())
