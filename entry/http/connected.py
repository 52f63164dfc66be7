"""Runs a request for as long as its client stays and its time lasts, and always answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from entry.http.contracts import error_answer
from runners.drain import STOPPING, Drain
from runners.http import CLIENT_GONE, replay
from sdxl.errors import LATE
from sdxl.request.limits import GRACE_S, LIMITS


async def while_connected(
    app: ASGIApp,
    scope: Scope,
    body: bytes,
    receive: Receive,
    send: Send,
    drain: Drain,
    leave: Callable[[], object] | None = None,
) -> None:
    """Runs the app on a body that was read already, and answers 504 if its time is over before it has begun to answer.

    When the client disconnects, or the server must stop (503), cancels the app and waits for its end. With `leave`,
    calls that for a client that leaves, and leaves the time limit to the app, too. The limit is here and not in the
    endpoint, because a timer holds on to its context until it would have fired, and in an endpoint that is all of
    the request.
    """
    left = asyncio.Event()
    has_answered = False

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async def disconnected() -> Message:
        await left.wait()
        return {"type": "http.disconnect"}

    async def answer(message: Message) -> None:
        nonlocal has_answered
        has_answered = True
        await send(message)

    limit_s = None if leave else LIMITS.get().remaining_s + GRACE_S
    work = asyncio.ensure_future(app(scope, replay(body, then=disconnected), answer))
    watching = asyncio.create_task(watch())
    stopping = asyncio.create_task(drain.is_over.wait())
    try:
        await asyncio.wait((work, watching, stopping), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        if watching.done() and not work.done():
            (leave or work.cancel)()
        elif not work.done() and not has_answered:
            work.cancel()
        await asyncio.wait((work, stopping), return_when=asyncio.FIRST_COMPLETED)
        work.cancel()  # without effect once it is done
        await asyncio.wait((work,))
        if not work.cancelled():
            work.result()
        elif not has_answered:
            error = error_answer(scope["path"], STOPPING if stopping.done() else LATE)
            await (CLIENT_GONE if watching.done() else error)(scope, receive, send)
    finally:
        watching.cancel()
        stopping.cancel()
        work.cancel()
