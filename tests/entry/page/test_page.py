"""The page's place in the server: when there is one, and what of Gradio is served."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import PlainTextResponse

from entry.http.app import make_app
from entry.page.bounds import bounds
from entry.page.mount import Page, add_page
from sdxl.config.settings import Settings


def app(settings: Settings) -> FastAPI:
    return make_app(partial(add_page, settings=settings))


def get(app: Any, *paths: str, method: str = "GET") -> list[httpx.Response]:
    """The answers to requests that are made at once."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            return await asyncio.gather(*(client.request(method, path) for path in paths))

    return asyncio.run(ask())


@pytest.mark.parametrize("path", ["/ui/", "/ui/assets/index.js"])
def test_without_gradio_there_is_no_page(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)  # as Python itself marks what cannot be imported
    (answer,) = get(app(Settings()), path)
    assert answer.status_code == 404
    assert "pip install -r requirements-ui.txt" in answer.json()["error"]


def test_turned_off() -> None:
    (answer,) = get(app(Settings(ui="off")), "/ui/")
    assert answer.status_code == 404
    assert "SDXL_UI" in answer.json()["error"]


def test_the_way_to_the_page_is_relative() -> None:
    (answer,) = get(app(Settings()), "/ui")
    assert (answer.status_code, answer.headers["location"]) == (307, "ui/")


class Loader:
    """In place of Gradio."""

    def __init__(self, faults: int = 0) -> None:
        self.calls, self.faults = 0, faults

    def __call__(self) -> tuple[Any, str]:
        self.calls += 1
        if self.calls <= self.faults:
            raise ImportError("a broken installation")
        return PlainTextResponse("a script"), "<p>the page</p>"


def page(loader: Loader) -> FastAPI:
    app = FastAPI()
    app.mount("/ui", Page(loader))
    return app


def test_gradio_is_loaded_once_and_not_before_it_is_asked_for() -> None:
    loader = Loader()
    app = page(loader)
    assert loader.calls == 0
    first, second = get(app, "/ui/", "/ui/assets/index.js")
    assert (first.text, second.text) == ("<p>the page</p>", "a script")
    assert first.headers["content-type"].startswith("text/html")
    assert loader.calls == 1


def test_what_cannot_be_loaded_is_tried_anew() -> None:
    app = page(Loader(faults=1))
    assert get(app, "/ui/")[0].status_code == 500
    assert get(app, "/ui/")[0].status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/ui/config",
        "/ui/gradio_api/info",
        "/ui/gradio_api/queue/data?session_hash=a",
        "/ui/gradio_api/file=/etc/hostname",
        "/ui/gradio_api/proxy=http://example.com",
        "/ui/gradio_api/heartbeat/a",
        "/ui/monitoring",
    ],
)
def test_nothing_else_of_gradio_is_served(path: str) -> None:
    loader = Loader()
    assert get(page(loader), path)[0].status_code == 404
    assert loader.calls == 0


@pytest.mark.parametrize("path", ["/ui/", "/ui/gradio_api/upload", "/ui/gradio_api/queue/join", "/ui/assets/index.js"])
def test_nothing_can_be_sent(path: str) -> None:
    assert get(page(Loader()), path, method="POST")[0].status_code == 404


def test_bounds_for_people() -> None:
    assert bounds("width") == "64 to 8,192, multiples of 8"
    assert bounds("high_noise_frac") == "above 0, below 1"
    assert bounds("strength") == "above 0, to 1"
    assert bounds("quality") == "1 to 100"
