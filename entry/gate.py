"""What a request must pass before BentoML sees it, and what becomes of one whose client goes away.

BentoML answers an invalid request without what came, and logs it with the prompt in it; it downloads
what a form's file field links to; and it works on for a client that has left. So this pure ASGI middleware
checks size, content type and fields first, and ends the work when the client disconnects.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from entry.batch import BATCH_ROUTE, CLIENT, Client, batch_body, max_items
from entry.connected import while_connected
from entry.document import document
from entry.fleet import Fleet
from entry.provenance import PROVENANCE_ROUTE, NoFields
from entry.tasks import CANCEL_ROUTE, RETRY_ROUTE, SUBMIT_ROUTE, Tasks
from runners.drain import STOPPING, Drain
from runners.http import CLIENT_GONE, ClientGone, error_response, read_body, replay
from runners.metrics import forget_the_dead
from sdxl.config import Settings
from sdxl.errors import RelayError, invalid_field, invalid_request
from sdxl.limits import LIMITS, Limits
from sdxl.request import MAX_REQUEST_BYTES, EditRequest, GenerationRequest, RefineRequest, StreamRequest

logger = logging.getLogger("bentoml.sdxl_relay")

JSON, FORM = "application/json", "multipart/form-data"


@dataclass(frozen=True)
class Route:
    """What the gate checks of a request. Without a model, there is no body."""

    media_type: str = JSON
    model: type[BaseModel] | None = None
    max_bytes: int = 0
    files: Mapping[str, bool] = field(default_factory=dict)
    """The file fields of a form, and whether each is required."""


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
        self.tasks = Tasks(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers what is asked of the entry itself, and lets in what may be worked on."""
        is_http = scope["type"] == "http"
        if is_http and scope["path"] == "/metrics":
            forget_the_dead()
        if is_http and scope["path"] == "/readyz":
            await self._readiness()(scope, receive, send)
        elif is_http and scope["path"] == "/docs.json":
            await JSONResponse(self.docs())(scope, receive, send)
        elif is_http and scope["method"] == "PUT" and scope["path"] == CANCEL_ROUTE:
            await self.tasks.cancel(scope, receive, send)
        elif is_http and scope["method"] == "POST" and scope["path"] in self.routes:
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
            await error_response(error)(scope, receive, send)
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
            _check_media_type(headers, route.media_type)
            LIMITS.set(Limits.from_headers(headers, self.max_timeout_s))
            body = await read_body(headers, receive, route.max_bytes)
            await _check_fields(scope, body, route)
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


def _check_media_type(headers: Headers, allowed: str) -> None:
    got = headers.get("content-type", JSON).split(";")[0].strip().lower()
    if got != allowed:
        raise RelayError(
            415,
            "unsupported_media_type",
            f"content-type: got {got}; allowed: {allowed}",
            field="content-type",
            got=got,
        )


async def _check_fields(scope: Scope, body: bytes, route: Route) -> None:
    try:
        if route.model is None:
            return
        if route.media_type == JSON:
            route.model.model_validate_json(body)
        else:
            form = await _parse_form(scope, body, len(route.files))
            route.model.model_validate(_fields(form, route.files))
            await form.close()
    except ValidationError as error:
        raise invalid_request(error) from None


async def _parse_form(scope: Scope, body: bytes, max_files: int) -> FormData:
    try:
        return await Request(scope, replay(body, then=_nothing_more)).form(
            max_files=max_files, max_fields=50, max_part_size=MAX_REQUEST_BYTES
        )
    except HTTPException as error:
        raise RelayError(400, "invalid_form", f"the body is not a valid form: {error.detail}") from None


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}


def _fields(form: FormData, files: Mapping[str, bool]) -> dict[str, Any]:
    """A form's text fields, read as BentoML reads them: as JSON where they are JSON. Its files are checked."""
    for name, is_required in files.items():
        _check_file(name, form.getlist(name), is_required)
    fields: dict[str, Any] = {}
    for name, value in form.items():
        if name in files:
            continue
        if isinstance(value, UploadFile):
            raise invalid_field(name, value.filename, f"text; a file may only be the field {' or '.join(files)}")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields


def _check_file(name: str, parts: Sequence[UploadFile | str], is_required: bool) -> None:
    """Each part of that name is looked at, for BentoML would download all that are links."""
    are_files = all(isinstance(part, UploadFile) for part in parts)
    if not are_files or len(parts) > 1 or (is_required and not parts):
        got = [part.filename if isinstance(part, UploadFile) else part for part in parts]
        raise invalid_field(name, got[0] if len(got) == 1 else got, "one picture as a file: PNG, JPEG or WebP")
