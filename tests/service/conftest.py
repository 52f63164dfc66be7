"""Clients of the running server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from playwright.sync_api import Browser

from tests.service.browser import CHROMIUM, Visit, chromium
from tests.service.server import Server

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
