"""The end of a BentoML task that its client cancels.

BentoML takes a request in under …/submit, answers with an identifier, and goes on with the work within the same
ASGI call. Its own …/cancel writes "canceled" into its database, works on, and answers with an error.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runners.http import ErrorResponse
from sdxl.errors import RelayError

TASK_ROUTE = "/generate"
SUBMIT_ROUTE, RETRY_ROUTE, CANCEL_ROUTE = (f"{TASK_ROUTE}/{name}" for name in ("submit", "retry", "cancel"))


class Tasks:
    """The tasks under way, by BentoML's identifiers: a middleware between the gate and BentoML."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._work: dict[str, asyncio.Future[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Takes over what is about tasks, and passes on the rest."""
        match scope.get("method"), scope.get("path"):
            case "PUT", path if path == CANCEL_ROUTE:
                await self.cancel(scope, receive, send)
            case "POST", path if path in (SUBMIT_ROUTE, RETRY_ROUTE):
                await self.submit(scope, receive, send)
            case _:
                await self._app(scope, receive, send)

    async def submit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs a task to its end; cancelled from outside, by whoever stops the server, it ends as well."""
        parts: list[bytes] = []

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    self._remember(b"".join(parts), work)
            await send(message)

        # BentoML writes the request with its headers to disk, where the client's key is not to lie.
        headers = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
        work = asyncio.ensure_future(self._app({**scope, "headers": headers}, receive, answer))
        try:
            await asyncio.wait((work,))
            if not work.cancelled():
                work.result()
        finally:
            work.cancel()

    def _remember(self, answer: bytes, work: asyncio.Future[None]) -> None:
        task_id = json.loads(answer).get("task_id")
        if task_id:  # else it was refused
            self._work[task_id] = work
            work.add_done_callback(lambda _: self._work.pop(task_id))

    async def cancel(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ends a task, which frees its rows, and lets BentoML note that."""
        task_id = parse_qs(scope["query_string"].decode("latin-1")).get("task_id", [""])[0]
        work = self._work.get(task_id)
        if work is None:
            error = RelayError(
                404, "no_such_task", "task_id: no task under way has it", field="task_id", got=task_id[:80]
            )
            await ErrorResponse(error)(scope, receive, send)
            return
        work.cancel()
        await asyncio.wait((work,))
        await self._app(scope, receive, _unheard)
        await JSONResponse({"task_id": task_id, "status": "canceled"})(scope, receive, send)


def add_tasks(service: Any) -> None:
    """Puts the middleware before a BentoML service, behind those that it has already."""
    service.add_asgi_middleware(Tasks)


async def _unheard(_: Message) -> None:
    """BentoML's answer says that it cannot cancel."""
