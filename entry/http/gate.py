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

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from entry.http.connected import while_connected
from entry.http.contracts import error_answer
from entry.http.docs import DOCS_PATH, docs_page, to_docs
from entry.http.document import document
from entry.http.empty_parts import without_empty_parts
from entry.http.keys import Keys
from entry.http.route import FORM, Route
from runners.drain import STOPPING, Drain
from runners.gauges import forget_the_dead
from runners.http import CLIENT_GONE, ClientGone, error_response, read_body
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.request.limits import LIMITS, Limits

logger = logging.getLogger("bentoml.sdxl_relay")


Report = Callable[[], dict[str, Any]]


def add_gate(service: Any, settings: Settings, routes: Mapping[str, Route], report: Report, drain: Drain) -> None:
    """Puts the gate before a BentoML service; `report` says, as `ready` and with details, whether there are stages."""
    docs = cache(lambda: document(service.openapi_spec.asdict()))
    service.add_asgi_middleware(Gate, settings=settings, routes=routes, report=report, drain=drain, docs=docs)


class Gate:
    """The middleware. It passes on what is not one of `routes`."""

    def __init__(
        self, app: ASGIApp, settings: Settings, routes: Mapping[str, Route], report: Report, drain: Drain, docs: Report
    ) -> None:
        self.app = app
        self.docs = docs
        self.routes = routes
        self.report = report
        self.drain = drain
        self.max_requests = settings.max_requests
        self.max_timeout_s = settings.timeout_s
        self.keys = Keys(settings.api_keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what is asked of the entry itself, and lets in what may be worked on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            self.keys.check(scope)
        except RelayError as error:
            await error_answer(scope["path"], error)(scope, receive, send)
            return
        if scope["path"] == "/metrics":
            forget_the_dead()
        if scope["path"] == "/readyz":
            await self._readiness()(scope, receive, send)
        elif scope["path"] == "/docs.json":
            await JSONResponse(self.docs())(scope, receive, send)
        elif scope["path"] == DOCS_PATH and scope["method"] in ("GET", "HEAD"):
            await docs_page()(scope, receive, send)
        elif scope["path"] == "/" and scope["method"] in ("GET", "HEAD"):
            await to_docs()(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"] in self.routes:
            await self._admit(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _readiness(self) -> JSONResponse:
        if self.drain.has_begun:
            return error_response(STOPPING)
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
            body = await read_body(headers, receive, route.max_bytes)
            if route.media_type == FORM:
                body = without_empty_parts(headers.get("content-type"), body)
            await route.check_fields(scope, body)
            return body
        except (RelayError, ClientGone):
            raise
        except Exception as error:  # a bug of ours; left to BentoML, the client would wait until the time limit
            logger.exception("a request could not be checked")
            raise RelayError(500, "internal", "the request could not be checked; the server is at fault") from error
