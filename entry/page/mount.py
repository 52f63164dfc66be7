"""The page /ui: where it is served, and what of Gradio is."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from fastapi import FastAPI
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from runners.http import ErrorResponse
from sdxl.config.settings import Settings
from sdxl.errors import RelayError

logger = logging.getLogger("bentoml.sdxl_relay")

PATH = "/ui"
NOT_INSTALLED = RelayError(
    404, "no_page", "the page needs Gradio, which is not installed: pip install -r requirements-ui.txt"
)
TURNED_OFF = RelayError(404, "no_page", "the page is turned off by SDXL_UI")
NO_SUCH_FILE = RelayError(404, "not_found", "the page has no such file")
BROKEN = RelayError(500, "internal", "the page could not be made; the server is at fault")
# The page asks nobody else for anything, whatever a later Gradio would like to.
# Gradio compiles its handlers in the browser, hence 'unsafe-eval', and has scripts and styles in the page itself.
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' blob: data:; font-src 'self' data:; base-uri 'self'; form-action 'self'; "
        "frame-ancestors 'self'; object-src 'none'"
    ),
    "referrer-policy": "no-referrer",
}


def add_page(app: FastAPI, settings: Settings) -> None:
    """Puts the page at /ui. Without Gradio, or with it turned off, there is a 404 that says so."""

    async def to_the_folder() -> Response:
        return RedirectResponse("ui/")  # relative: a proxy may have put a path before

    app.add_api_route(PATH, to_the_folder, include_in_schema=False)
    if settings.ui == "off":
        app.mount(PATH, ErrorResponse(TURNED_OFF))
    elif page_path(settings) is None:
        app.mount(PATH, ErrorResponse(NOT_INSTALLED))
    else:
        app.mount(PATH, Page(lambda: _load(asks_for_keys=bool(settings.api_keys))))


def page_path(settings: Settings) -> str | None:
    """Where the page is, if there is one."""
    return PATH if settings.ui != "off" and find_spec("gradio") is not None else None


def _load(*, asks_for_keys: bool) -> tuple[Any, str]:
    """Imports Gradio, which takes seconds and some 100 MB."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from entry.page.gradio_app import gradio_app, page_html

    app = gradio_app(PATH, asks_for_keys=asks_for_keys)
    return app, page_html(app, PATH)


class Page:
    """The ASGI app of the page: one HTML document, and Gradio's scripts and styles.

    Only those are served: what the page does, it asks of the API as every client does, so Gradio's own routes
    (queue, uploads, files, proxy) are not there. Gradio is loaded in a thread when somebody opens the page.
    """

    def __init__(self, load: Callable[[], tuple[Any, str]]) -> None:
        """`load` gives Gradio's ASGI app and the page's HTML."""
        self._load = load
        self._loading: asyncio.Future[tuple[Any, str]] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves GET and HEAD, below the path where the page is mounted."""
        path = scope["path"].removeprefix(scope["root_path"])
        is_page = path in ("", "/")
        is_file = path.startswith(("/assets/", "/static/")) or path == "/theme.css"
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not (is_page or is_file):
            await ErrorResponse(NO_SUCH_FILE)(scope, receive, send)
            return
        try:
            app, html = await self._loaded()
        except Exception:
            logger.exception("the page could not be loaded")
            await ErrorResponse(BROKEN)(scope, receive, send)
            return
        if is_page:
            await Response(html, media_type="text/html", headers=HEADERS)(scope, receive, send)
        else:
            await app(_as_if_outermost(scope, f"{PATH}{path}"), receive, send)

    async def _loaded(self) -> tuple[Any, str]:
        if self._loading is None or (self._loading.done() and self._loading.exception()):
            self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
        return await asyncio.shield(self._loading)


def _as_if_outermost(scope: Scope, path: str) -> Scope:
    """The request for an app of its own, without what the apps around it have noted."""
    kept = ("type", "asgi", "http_version", "method", "scheme", "query_string", "headers", "client", "server")
    return {**{name: scope[name] for name in kept if name in scope}, "path": path, "root_path": ""}
