"""Clients of the running server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from playwright.sync_api import Browser

from tests.conftest import MINI
from tests.service.browser import CHROMIUM, Visit, chromium
from tests.service.server import Server, serving

REFUSED = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
Open = Callable[..., Visit]


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none is asked for", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine: see CONTRIBUTING.md")
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Open]:
    """Opens the page. It must ask nobody but the server, and leave nothing on the browser's console."""
    with ExitStack() as after:

        def opened(**options: Any) -> Visit:
            visit = Visit.to(browser, server.url, **options)
            after.callback(visit.page.context.close)
            after.callback(check, visit)
            return visit

        def check(visit: Visit) -> None:
            assert visit.hosts == {urlsplit(server.url).netloc}
            assert [each for each in visit.complaints if each != REFUSED] == []

        yield opened


@pytest.fixture(scope="session")
def many_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six bases and the mini's refiner, with LoRAs, a VAE and textual inversions."""
    from tests.models_folder import write_folder  # with torch and diffusers, which most tests here do without

    folder = tmp_path_factory.mktemp("models")
    write_folder(folder)
    shutil.copytree(MINI / "refiner", folder / "checkpoints" / "mini refiner")
    return folder


@pytest.fixture(scope="session")
def many(many_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of all models of the folder."""
    from tests.models_folder import ENVIRONMENT

    settings: dict[str, Any] = {"SDXL_MODELS": many_folder, "SDXL_REFINER": "mini refiner", **ENVIRONMENT}
    with serving(tmp_path_factory.mktemp("many"), SDXL_FIXED_ROWS=4, **settings) as running:
        yield running
