"""What the entry and the runners do alike with HTTP: read a body, answer an error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from runners.noted import note_error
from sdxl.errors import RelayError

# A body must come at 50 kB/s, after ten seconds of patience: faster than that are slow telephones, slower are attacks.
BODY_PATIENCE_S = 10.0
BODY_BYTES_PER_S = 50_000


class ClientGone(Exception):
    """The client left before its request was complete."""


class ErrorResponse(JSONResponse):
    """An error as the client gets it, and for the request's log line. `body` is its form; without one, our own."""

    def __init__(self, error: RelayError, body: Mapping[str, Any] | None = None) -> None:
        super().__init__(error.as_json() if body is None else body, error.status, error.headers)
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        note_error(self._error)
        await super().__call__(scope, receive, send)


# nginx's status for a client that left. Nobody reads it, but a request that ends without an answer is one that
# BentoML's time limit goes on waiting for, and with it the server's shutdown.
CLIENT_GONE = ErrorResponse(RelayError(499, "client_left", "the client left before its answer was there"))


async def read_body(headers: Mapping[str, str], receive: Receive, max_bytes: int) -> bytes:
    """The whole body. Raises RelayError: 413 for more than `max_bytes`, 408 for a slow sender; and ClientGone."""
    too_large = RelayError(413, "body_too_large", f"the body is too large; allowed: {max_bytes} bytes", field="body")
    if int(headers.get("content-length", "0")) > max_bytes:
        raise too_large
    begun_s = asyncio.get_running_loop().time()
    body = bytearray()
    while True:
        try:
            async with asyncio.timeout_at(begun_s + BODY_PATIENCE_S + len(body) / BODY_BYTES_PER_S):
                message = await receive()
        except TimeoutError:
            raise RelayError(408, "slow_body", f"the body came too slowly: {len(body)} bytes so far") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        if len(body) > max_bytes:
            raise too_large
        if not message.get("more_body", False):
            return bytes(body)


def replay(body: bytes, then: Receive) -> Receive:
    """A body that was read already as the one message of it; what comes after it is for `then` to say."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await then()

    return receive
