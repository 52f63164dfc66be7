"""The page /ui: plain files, and what they must know of this server. All else they ask of the API, as every client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from entry.page.about import about, about_model
from runners.http import ErrorResponse
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.handoff.offer import OfferedModel

PATH = "/ui"
FILES = Path(__file__).parent / "static"
TURNED_OFF = RelayError(404, "no_page", "the page is turned off by SDXL_UI")
NO_SUCH_FILE = RelayError(404, "not_found", "the page has no such file")
# The page asks nobody else for anything, and runs no script but its own.
HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'self'; object-src 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class Offered(Protocol):
    """What there is to choose from; the entry's `Fleet`."""

    def models(self) -> Mapping[str, Sequence[OfferedModel]]:
        """Those that each stage offers, its default first."""

    def loras(self) -> Mapping[str, Sequence[str]]:
        """The names of those that each stage offers."""


def add_page(app: FastAPI, settings: Settings, fleet: Offered) -> None:
    """Puts the page at /ui; where it is turned off, there is a 404 that says so."""

    async def to_the_folder() -> Response:
        return RedirectResponse("ui/")  # relative: a proxy may have put a path before

    async def about_server(model: str | None = None) -> Response:
        models = fleet.models()
        told = about_model(models, model, settings) if model else about(models, fleet.loras(), settings)
        return JSONResponse(told, headers=HEADERS)

    app.add_api_route(PATH, to_the_folder, include_in_schema=False)
    if settings.ui:
        app.add_api_route(f"{PATH}/server.json", about_server, include_in_schema=False)
        app.mount(PATH, PageFiles(directory=FILES, html=True))
    else:
        app.mount(PATH, ErrorResponse(TURNED_OFF))


def page_path(settings: Settings) -> str | None:
    """Where the page is, if there is one."""
    return PATH if settings.ui else None


class PageFiles(StaticFiles):
    """The files, with `HEADERS`."""

    async def get_response(self, path: str, scope: Scope) -> Any:
        """See StaticFiles; what is not there, and what is not to be sent, has an error as all others."""
        try:
            response = await super().get_response(path, scope)
        except HTTPException:
            return ErrorResponse(NO_SUCH_FILE)
        response.headers.update(HEADERS)
        return response
