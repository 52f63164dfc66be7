"""What a request must pass before BentoML sees it, and what becomes of one whose client goes away.

BentoML answers an invalid request without what came, and logs it with the prompt in it; it downloads
what a form's file field links to; and it works on for a client that has left. So this pure ASGI middleware
checks size, content type and fields first, and ends the work when the client disconnects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache
from typing import Any

from fastapi.openapi.utils import get_openapi
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from entry.http.client_schema import client_schema
from entry.http.connected import while_connected
from entry.http.contracts import error_answer
from entry.http.cors import Cors
from entry.http.docs import ASSETS as SWAGGER
from entry.http.docs import DOCS_PATH, docs_page, to_docs
from entry.http.document import document
from entry.http.empty_parts import without_empty_parts
from entry.http.keys import Keys
from entry.http.metrics import RequestMetrics
from entry.http.own_errors import OwnErrors
from entry.http.paths import PICTURES, tidied
from entry.http.route import FORM, Route
from runners.access_log import AccessLog
from runners.drain import STOPPING, Drain
from runners.gauges import published
from runners.http import CLIENT_GONE, ClientGone, ErrorResponse, read_body
from runners.noted import note_key
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.request.limits import LIMITS, Limits
from sdxl.version import PRODUCT, VERSION

logger = logging.getLogger("bentoml.sdxl_relay")


Report = Callable[[], dict[str, Any]]
ASSETS = (f"/{SWAGGER}/", "/ui/")  # what the two pages load


def _is_asset(path: str) -> bool:
    return path.startswith(ASSETS) and not path.endswith("/")


def add_gate(service: Any, settings: Settings, routes: Mapping[str, Route], report: Report, drain: Drain) -> None:
    """Puts the gate before a BentoML service, and before the gate what concerns its answers, too: the log, and CORS.

    `report` says, as `ready` and with details, whether there are stages.
    """
    docs = cache(lambda: _document(service, settings, routes))
    schema = cache(lambda: client_schema(service.schema(), {name: api.doc for name, api in service.apis.items()}))
    service.add_asgi_middleware(AccessLog, is_asset=_is_asset, counts=RequestMetrics(routes), secret=PICTURES)
    if settings.cors_origins:
        service.add_asgi_middleware(Cors, settings=settings)
    service.add_asgi_middleware(
        Gate,
        settings=settings,
        routes=routes,
        report=report,
        drain=drain,
        told={"/docs.json": docs, "/schema.json": schema},
    )


def _document(service: Any, settings: Settings, routes: Mapping[str, Route]) -> dict[str, Any]:
    ((app, *_),) = service.mount_apps
    mounted = get_openapi(title=PRODUCT, version=VERSION, routes=app.routes)
    return document(service.openapi_spec.asdict(), mounted, routes, has_keys=bool(settings.api_keys))


class Gate:
    """The middleware. It passes on what is not one of `routes`."""

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        routes: Mapping[str, Route],
        report: Report,
        drain: Drain,
        told: Mapping[str, Report],
    ) -> None:
        self.app = app
        self.enter = OwnErrors(self._enter, known=routes)
        self.told = told
        self.routes = routes
        self.report = report
        self.drain = drain
        self.max_requests = settings.max_requests
        self.max_timeout_s = settings.timeout_s
        self.keys = Keys(settings.api_keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what is asked of the entry itself, and lets in what may be worked on."""
        if scope["type"] == "http":
            await self.enter(tidied(scope), receive, send)
        else:
            await self.app(scope, receive, send)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            note_key(self.keys.check(scope))
        except RelayError as error:
            await error_answer(scope["path"], error)(scope, receive, send)
        else:
            await self._way(scope)(scope, receive, send)

    def _way(self, scope: Scope) -> ASGIApp:
        """What answers a request that has a key."""
        match scope["method"], scope["path"]:
            case "GET", "/readyz":
                return self._readiness()
            case "GET", path if path in self.told:
                return JSONResponse(self.told[path]())
            case "GET", path if path == DOCS_PATH:
                return docs_page()
            case "GET", "/":
                return to_docs("docs")
            case "GET", "/docs/":
                return to_docs("../docs")
            case "GET", "/metrics":
                return published
            case "POST", path if path in self.routes:
                return self._admit
        return self.app

    def _readiness(self) -> JSONResponse:
        if self.drain.has_begun:
            return ErrorResponse(STOPPING)
        report = self.report()
        return JSONResponse(report, 200 if report["ready"] else 503)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Checks one request, then runs it for as long as its client stays, or as its route says."""
        route = self.routes[scope["path"]]
        try:
            self._check_room()
            with self.drain.request():
                body = await self._check(route, scope, receive)
                with nullcontext() if route.holding is None else route.holding() as leave:
                    await while_connected(self.app, scope, body, receive, send, self.drain, leave)
        except RelayError as error:
            await error_answer(scope["path"], error)(scope, receive, send)
        except ClientGone:
            await CLIENT_GONE(scope, receive, send)

    def _check_room(self) -> None:
        if self.drain.has_begun:
            raise STOPPING
        if self.drain.requests >= self.max_requests:
            raise RelayError(
                429, "queue_full", f"the queue is full: {self.max_requests} requests are at work", retry_after_s=5
            )

    async def _check(self, route: Route, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that is what its route wants. Raises RelayError, and ClientGone."""
        headers = Headers(scope=scope)
        try:
            route.check_media_type(headers)
            LIMITS.set(Limits.from_headers(headers, self.max_timeout_s))
            body = route.as_utf_8(await read_body(headers, receive, route.max_bytes))
            if route.media_type == FORM:
                body = without_empty_parts(headers.get("content-type"), body)
            await route.check_fields(scope, body)
            return body
        except (RelayError, ClientGone):
            raise
        except Exception as error:  # a bug of ours; left to BentoML, the client would wait until the time limit
            logger.exception("a request could not be checked")
            raise RelayError(500, "internal", "the request could not be checked; the server is at fault") from error
