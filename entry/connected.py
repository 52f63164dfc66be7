"""Runs a request for as long as its client stays and its time lasts, and always answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sdxl.errors import RelayError
from sdxl.limits import GRACE_S, LIMITS

# nginx's status for a client that left. Nobody reads it, but a request that ends without an answer is one that
# BentoML's time limit goes on waiting for, and with it the server's shutdown.
CLIENT_GONE = Response(status_code=499)
LATE = RelayError(504, "timeout", "the request was not done in time")


def error_response(error: RelayError) -> JSONResponse:
    """An error as the client gets it."""
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    return JSONResponse(error.as_json(), error.status, headers)


async def while_connected(
    app: ASGIApp,
    scope: Scope,
    body: bytes,
    receive: Receive,
    send: Send,
    leave: Callable[[], object] | None = None,
) -> None:
    """Runs the app on a body that was read already, and answers 504 if its time is over before it has begun to answer.

    When the client disconnects, cancels the app and waits for its end. With `leave`, calls that instead, and leaves
    the time limit to the app, too. The limit is here and not in the endpoint, because a timer holds on to its
    context until it would have fired, and in an endpoint that is all of the request.
    """
    left = asyncio.Event()
    has_answered = False

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    first = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        if first:
            return first.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def answer(message: Message) -> None:
        nonlocal has_answered
        has_answered = True
        await send(message)

    limit_s = None if leave else LIMITS.get().remaining_s + GRACE_S
    work = asyncio.ensure_future(app(scope, replay, answer))
    watching = asyncio.create_task(watch())
    try:
        await asyncio.wait((work, watching), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not work.done():
            (leave or work.cancel)()
        elif not work.done() and not has_answered:
            work.cancel()
        await asyncio.wait((work,))
        if not work.cancelled():
            work.result()
        elif not has_answered:
            await (CLIENT_GONE if watching.done() else error_response(LATE))(scope, receive, send)
    finally:
        watching.cancel()
        work.cancel()
