"""What many tests share: one running server with the mini checkpoint, and diffusers' pipelines over the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.service.reference import Reference
from tests.service.server import ROOT, Server, serving

settings.register_profile("no deadline", deadline=None)  # machines are shared, and their speed varies
settings.load_profile("no deadline")

MINI = ROOT / "checkpoints" / "mini"
KEYS = ("the first key of the tests".replace(" ", "-"), "another:key:with:colons")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("bentoml"), SDXL_MAX_ROWS=16) as running:
        yield running


@pytest.fixture(scope="session")
def guarded_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for one of KEYS, with room for four jobs a stage."""
    home = tmp_path_factory.mktemp("guarded")
    with serving(home, SDXL_API_KEYS=", ".join(KEYS), SDXL_MAX_ROWS=4, SDXL_MAX_JOBS=4) as running:
        yield running


@pytest.fixture(scope="session")
def reference() -> Reference:
    return Reference.load(MINI)


@pytest.fixture(scope="session")
def epsilon_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair as the real SDXL predicts noise (epsilon), with random UNets; all else is the mini checkpoint's."""
    from tests.service.epsilon import write_epsilon_pair

    folder = tmp_path_factory.mktemp("epsilon")
    write_epsilon_pair(MINI, folder)
    return folder


@pytest.fixture(scope="module")
def epsilon_server(epsilon_checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("bentoml"),
        SDXL_BASE=epsilon_checkpoints / "base",
        SDXL_REFINER=epsilon_checkpoints / "refiner",
    ) as running:
        yield running
