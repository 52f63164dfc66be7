"""What a request must pass before BentoML sees it, and what becomes of one whose client goes away.

BentoML answers an invalid request without what came, and logs it with the prompt in it; it downloads
what a form's file field links to; and it works on for a client that has left. So this pure ASGI middleware
checks size, content type and fields first, and ends the work when the client disconnects.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from entry.automatic1111.requests import Options, Txt2Img
from entry.batch import BATCH_ROUTE, CLIENT, Client, batch_body, max_items
from entry.fleet.fleet import Fleet
from entry.http.connected import while_connected
from entry.http.contracts import error_answer
from entry.http.document import document
from entry.http.keys import Keys
from entry.http.route import FORM, JSON, Route
from entry.openai.forms import form_fields
from entry.openai.requests import ImageEdit, ImageGeneration
from entry.provenance import PROVENANCE_ROUTE, NoFields
from entry.tasks import CANCEL_ROUTE, RETRY_ROUTE, SUBMIT_ROUTE, Tasks
from runners.drain import STOPPING, Drain
from runners.http import CLIENT_GONE, ClientGone, error_response, read_body
from runners.metrics import forget_the_dead
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.request.fields import MAX_REQUEST_BYTES
from sdxl.request.limits import LIMITS, Limits
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest, StreamRequest

logger = logging.getLogger("bentoml.sdxl_relay")


def routes(settings: Settings) -> Mapping[str, Route]:
    """The checked routes, each by its path."""
    max_upload = settings.max_upload_mb * 1_000_000
    return {
        "/generate": Route(JSON, GenerationRequest, MAX_REQUEST_BYTES),
        "/refine": Route(FORM, RefineRequest, max_upload, {"image": True}),
        SUBMIT_ROUTE: Route(JSON, GenerationRequest, MAX_REQUEST_BYTES),
        RETRY_ROUTE: Route(),
        "/generate_stream": Route(JSON, StreamRequest, MAX_REQUEST_BYTES),
        PROVENANCE_ROUTE: Route(FORM, NoFields, max_upload, {"image": True}),
        "/edit": Route(FORM, EditRequest, max_upload, {"image": True, "mask": False}),
        BATCH_ROUTE: Route(JSON, batch_body(settings), max_items(settings) * MAX_REQUEST_BYTES),
        "/v1/images/generations": Route(JSON, ImageGeneration, MAX_REQUEST_BYTES),
        "/v1/images/edits": Route(FORM, ImageEdit, max_upload, read_fields=form_fields),
        "/sdapi/v1/txt2img": Route(JSON, Txt2Img, MAX_REQUEST_BYTES),
        "/sdapi/v1/options": Route(JSON, Options, MAX_REQUEST_BYTES),
    }


def add_gate(service: Any, settings: Settings, fleet: Fleet, drain: Drain) -> None:
    """Puts the gate before a BentoML service."""
    docs = cache(lambda: document(service.openapi_spec.asdict()))
    service.add_asgi_middleware(Gate, settings=settings, fleet=fleet, drain=drain, docs=docs)


class Gate:
    """The middleware. It passes on what is not one of `routes`."""

    def __init__(
        self, app: ASGIApp, settings: Settings, fleet: Fleet, drain: Drain, docs: Callable[[], dict[str, Any]]
    ) -> None:
        self.app = app
        self.docs = docs
        self.routes = routes(settings)
        self.fleet = fleet
        self.drain = drain
        self.max_requests = settings.max_requests
        self.max_batched = settings.max_jobs  # requests for a batch, waiting or in it
        self.max_timeout_s = settings.timeout_s
        self.batched = 0
        self.keys = Keys(settings.api_keys)
        self.tasks = Tasks(app)

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
        elif scope["method"] == "PUT" and scope["path"] == CANCEL_ROUTE:
            await self.tasks.cancel(scope, receive, send)
        elif scope["method"] == "POST" and scope["path"] in self.routes:
            await self._admit(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _readiness(self) -> JSONResponse:
        if self.drain.has_begun:
            return error_response(STOPPING)
        return JSONResponse(self.fleet.report(), 200 if self.fleet.is_ready else 503)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Checks one request, then runs it for as long as its client stays."""
        try:
            self._check_room()
            with self.drain.request():
                body = await self._check(scope, receive)
                await self._run(scope, body, receive, send)
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

    async def _check(self, scope: Scope, receive: Receive) -> bytes:
        """The body of a request that is what its route wants. Raises RelayError, and ClientGone."""
        route, headers = self.routes[scope["path"]], Headers(scope=scope)
        try:
            route.check_media_type(headers)
            LIMITS.set(Limits.from_headers(headers, self.max_timeout_s))
            body = await read_body(headers, receive, route.max_bytes)
            await route.check_fields(scope, body)
            return body
        except (RelayError, ClientGone):
            raise
        except Exception as error:  # a bug of ours; left to BentoML, the client would wait until the time limit
            logger.exception("a request could not be checked")
            raise RelayError(500, "internal", "the request could not be checked; the server is at fault") from error

    async def _run(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        if scope["path"] == BATCH_ROUTE:
            await self._in_batch(scope, body, receive, send)
        elif scope["path"] in (SUBMIT_ROUTE, RETRY_ROUTE):
            await while_connected(self.tasks.submit, scope, body, receive, send, self.drain, leave=lambda: None)
        else:
            await while_connected(self.app, scope, body, receive, send, self.drain)

    async def _in_batch(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Runs a request that BentoML makes part of a batch. BentoML's own queue has no bound.

        Its task is not cancelled when the client leaves: to BentoML that is an overload, logged with a
        traceback, and the items would be made all the same. So the items are, each by itself.
        """
        if self.batched >= self.max_batched:
            raise RelayError(
                429, "queue_full", f"the queue is full: {self.batched} requests wait for a batch", retry_after_s=5
            )
        client = Client()
        CLIENT.set(client)
        self.batched += 1
        try:
            await while_connected(self.app, scope, body, receive, send, self.drain, client.leave)
        finally:
            self.batched -= 1
