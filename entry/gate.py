"""What a request must pass before BentoML sees it, and what becomes of one whose client goes away.

BentoML answers an invalid request without what came, and logs it with the prompt in it; it downloads
what a form's file field links to; and it works on for a client that has left. So this pure ASGI middleware
checks size, content type and fields first, and ends the work when the client disconnects.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from entry.batch import BATCH_ROUTE, CLIENT, Client, batch_body, max_items
from entry.connected import CLIENT_GONE, error_response, while_connected
from runners.metrics import forget_the_dead
from sdxl.config import Settings
from sdxl.errors import RelayError, invalid_field, invalid_request
from sdxl.limits import LIMITS, Limits
from sdxl.request import GenerationRequest, RefineRequest

logger = logging.getLogger("bentoml.sdxl_relay")

MAX_JSON_BYTES = 256_000  # four texts of 2,000 characters, each escaped to 12 bytes, and the rest
JSON, FORM = "application/json", "multipart/form-data"
FILE_FIELD = "image"


@dataclass(frozen=True)
class Route:
    """What the gate checks of a request."""

    media_type: str
    model: type[BaseModel]
    max_bytes: int


def routes(settings: Settings) -> Mapping[str, Route]:
    """The checked routes, each by its path."""
    return {
        "/generate": Route(JSON, GenerationRequest, MAX_JSON_BYTES),
        "/refine": Route(FORM, RefineRequest, settings.max_upload_mb * 1_000_000),
        BATCH_ROUTE: Route(JSON, batch_body(settings), max_items(settings) * MAX_JSON_BYTES),
    }


def add_gate(service: Any, settings: Settings) -> None:
    """Puts the gate before a BentoML service."""
    service.add_asgi_middleware(Gate, settings=settings)


class Gate:
    """The middleware. It passes on what is not one of `routes`."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.routes = routes(settings)
        self.max_batched = settings.max_jobs  # requests for a batch, waiting or in it
        self.max_timeout_s = settings.timeout_s
        self.batched = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Checks one request, then runs it for as long as its client stays."""
        if scope["type"] == "http" and scope["path"] == "/metrics":
            forget_the_dead()
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self.routes:
            await self.app(scope, receive, send)
            return
        route = self.routes[scope["path"]]
        try:
            _check_media_type(Headers(scope=scope), route.media_type)
            LIMITS.set(Limits.from_headers(Headers(scope=scope), self.max_timeout_s))
            body = await _read_body(Headers(scope=scope), receive, route.max_bytes)
            await _check_fields(scope, body, route)
        except RelayError as error:
            await error_response(error)(scope, receive, send)
            return
        except ClientGone:
            await CLIENT_GONE(scope, receive, send)
            return
        except Exception:  # a bug of ours; left to BentoML, the client would wait for its answer until the time limit
            logger.exception("a request could not be checked")
            await error_response(
                RelayError(500, "internal", "the request could not be checked; the server is at fault")
            )(scope, receive, send)
            return
        if scope["path"] == BATCH_ROUTE:
            await self._in_batch(scope, body, receive, send)
        else:
            await while_connected(self.app, scope, body, receive, send)

    async def _in_batch(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Runs a request that BentoML makes part of a batch. BentoML's own queue has no bound.

        Its task is not cancelled when the client leaves: to BentoML that is an overload, logged with a
        traceback, and the items would be made all the same. So the items are, each by itself.
        """
        if self.batched >= self.max_batched:
            full = RelayError(
                429, "queue_full", f"the queue is full: {self.batched} requests wait for a batch", retry_after_s=5
            )
            await error_response(full)(scope, receive, send)
            return
        client = Client()
        CLIENT.set(client)
        self.batched += 1
        try:
            await while_connected(self.app, scope, body, receive, send, client.leave)
        finally:
            self.batched -= 1


class ClientGone(Exception):
    """The client left before its request was complete."""


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


async def _read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    too_large = RelayError(413, "body_too_large", f"the body is too large; allowed: {limit} bytes", field="body")
    if int(headers.get("content-length", "0")) > limit:
        raise too_large
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > limit:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


async def _check_fields(scope: Scope, body: bytes, route: Route) -> None:
    try:
        if route.media_type == JSON:
            route.model.model_validate_json(body)
        else:
            form = await _parse_form(scope, body)
            route.model.model_validate(_fields(form))
            await form.close()
    except ValidationError as error:
        raise invalid_request(error) from None


async def _parse_form(scope: Scope, body: bytes) -> FormData:
    try:
        return await Request(scope, _replay(body)).form(max_files=1, max_fields=50, max_part_size=MAX_JSON_BYTES)
    except HTTPException as error:
        raise RelayError(400, "invalid_form", f"the body is not a valid form: {error.detail}") from None


def _fields(form: FormData) -> dict[str, Any]:
    """A form's text fields, read as BentoML reads them: as JSON where they are JSON."""
    if not isinstance(form.get(FILE_FIELD), UploadFile):
        raise invalid_field(FILE_FIELD, form.get(FILE_FIELD), "a picture as a file: PNG, JPEG or WebP")
    fields: dict[str, Any] = {}
    for name, value in form.items():
        if name == FILE_FIELD:
            continue
        if isinstance(value, UploadFile):
            raise invalid_field(name, value.filename, "text; the one file is the field image")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields


def _replay(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive
