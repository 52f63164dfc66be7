"""One request to an ASGI app in the test's own process, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Headers
    body: bytes


def scope_of(
    path: str, method: str = "GET", headers: Mapping[str, str] | Sequence[tuple[str, str]] = (), **more: Any
) -> dict[str, Any]:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
    return {"type": "http", "path": path, "method": method, "headers": raw, "client": ("127.0.0.1", 7), **more}


def ask(app: ASGIApp, scope: dict[str, Any], body: bytes = b"") -> Answer:
    """The answer as a whole; what the app raises is raised."""
    sent: list[Message] = []
    asked = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if not asked:
            await asyncio.Event().wait()  # the client stays
        return asked.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    async def run() -> None:
        await app(scope, receive, send)

    asyncio.run(run())
    start, *parts = sent
    return Answer(start["status"], Headers(raw=start["headers"]), b"".join(part["body"] for part in parts))
