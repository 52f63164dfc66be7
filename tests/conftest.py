"""What many tests share: one running server with the mini checkpoint, both stages in the test's own process, and
diffusers' pictures over the same checkpoints.
"""

from __future__ import annotations

import runners  # isort: skip  # noqa: F401  (before torch: one thread for each model, as servers have them on two cores)

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests import kept
from tests.service.server import ROOT, Server, serving

if TYPE_CHECKING:  # what imports diffusers is imported when it is used first
    from tests.in_process import Studio
    from tests.service.reference import Reference

settings.register_profile("no deadline", deadline=None)  # machines are shared, and their speed varies
settings.load_profile("no deadline")

MINI = ROOT / "checkpoints" / "mini"
KEYS = ("the first key of the tests".replace(" ", "-"), "another:key:with:colons")
NAMED_KEY = ("alice", "the-key-of-alice-in-the-tests")
ORIGIN = "https://app.example.com"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--remake", action="store_true", help="make diffusers' kept pictures anew, and compare")


def pytest_configure(config: pytest.Config) -> None:
    kept.remakes = config.getoption("remake")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("bentoml"), SDXL_MAX_ROWS=16) as running:
        yield running


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for one of KEYS or NAMED_KEY, with room for four jobs a stage.

    Pages of ORIGIN may call it, and its log is JSON.
    """
    settings: dict[str, Any] = {
        "SDXL_API_KEYS": ", ".join((*KEYS, ":".join(NAMED_KEY))),
        "SDXL_CORS_ORIGINS": ORIGIN,
        "SDXL_LOG_FORMAT": "json",
    }
    with serving(tmp_path_factory.mktemp("guarded"), SDXL_MAX_ROWS=4, SDXL_MAX_JOBS=4, **settings) as running:
        yield running


@pytest.fixture(scope="session")
def mini() -> Iterator[Studio]:
    """Both stages of the mini checkpoint in this process."""
    from tests.in_process import studio

    with studio(max_rows=16) as opened:
        yield opened


@pytest.fixture(scope="session")
def converted_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of what is converted for other backends, not there yet; with xdist, of all its processes."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if os.environ.get("PYTEST_XDIST_WORKER") else own) / "converted"


@pytest.fixture(scope="session")
def reference() -> Reference:
    from tests.service.reference import Reference

    return Reference(MINI, kept_as="mini")


@pytest.fixture(scope="session")
def epsilon_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair as the real SDXL predicts noise (epsilon), with random UNets; all else is the mini checkpoint's."""
    from tests.service.epsilon import write_epsilon_pair

    folder = tmp_path_factory.mktemp("epsilon")
    write_epsilon_pair(MINI, folder)
    return folder


@pytest.fixture(scope="session")
def epsilon(epsilon_checkpoints: Path) -> Iterator[Studio]:
    """Both stages of that pair in this process."""
    from tests.in_process import studio

    folders = {stage: str(epsilon_checkpoints / stage) for stage in ("base", "refiner")}
    with studio(max_rows=16, **folders) as opened:
        yield opened


@pytest.fixture(scope="session")
def epsilon_reference(epsilon_checkpoints: Path) -> Reference:
    from tests.service.reference import Reference

    return Reference(epsilon_checkpoints, kept_as="epsilon")
