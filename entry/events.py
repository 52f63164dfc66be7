"""A request's progress and its end as a stream of events, for every endpoint that streams."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entry.answer import PictureFile
from entry.fleet.progress import Follower, Progress
from runners.noted import note_error
from sdxl.errors import RelayError
from sdxl.picture.image import encode_preview

logger = logging.getLogger("bentoml.sdxl_relay")

HEARTBEAT_S = 5.0
HEARTBEAT = ": heartbeat\n\n"  # a comment: clients skip it, proxies see that the connection lives
STREAM_HEADERS = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
Event = Progress | PictureFile | RelayError | None  # None: nothing has happened for HEARTBEAT_S


async def events(make: Callable[[Follower], Awaitable[PictureFile]], previews: int = 0) -> AsyncGenerator[Event, None]:
    """What becomes of `make`; the last event is its picture or its error. Leaving the generator cancels it."""
    heard: asyncio.Queue[Progress] = asyncio.Queue()
    work = asyncio.ensure_future(make(Follower(heard.put_nowait, previews)))
    try:
        while not work.done():
            hearing = asyncio.ensure_future(heard.get())
            await asyncio.wait((work, hearing), timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                yield hearing.result()
            else:
                hearing.cancel()
                if not work.done():
                    yield None
        while not heard.empty():
            yield heard.get_nowait()
        yield _end_of(work)
    finally:
        work.cancel()


def _end_of(work: asyncio.Future[PictureFile]) -> PictureFile | RelayError:
    error = work.exception()
    if error is None:
        return work.result()
    if not isinstance(error, RelayError):
        logger.error("a streamed request failed", exc_info=error)
        error = RelayError(500, "internal", "the picture could not be made; the server is at fault")
    note_error(error)
    return error


def server_sent(name: str, data: dict[str, Any]) -> str:
    """One Server-Sent Event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def as_server_sent(event: Event) -> str:
    """An event as /generate_stream sends it: queued, progress, preview, result or error; or a heartbeat."""
    match event:
        case None:
            return HEARTBEAT
        case Progress():
            eta_s = None if event.eta_s is None else round(event.eta_s, 2)
            if event.place is not None:
                return server_sent("queued", {"stage": event.stage, "place": event.place, "eta_s": eta_s})
            progress = {"stage": event.stage, "step": event.step, "of": event.of, "share": round(event.share, 4)}
            told = server_sent("progress", {**progress, "eta_s": eta_s})
            return told if event.preview is None else told + server_sent("preview", _preview(event.preview))
        case PictureFile():
            return server_sent("result", event.as_json())
        case RelayError():
            return server_sent("error", event.as_frame())


def _preview(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    data = encode_preview(pixels, output_format="jpeg")
    return {"picture": base64.b64encode(data).decode("ascii"), "media_type": "image/jpeg"}


async def stream(
    make: Callable[[Follower], Awaitable[PictureFile]], previews: int, response: Any
) -> AsyncGenerator[str, None]:
    """What becomes of `make` as /generate_stream sends it. What is refused at once has no stream, but a status.

    `response` is BentoML's, which asks it for status and headers before the first part is sent.
    """
    async with aclosing(events(make, previews)) as told:
        first = await anext(told)
        if isinstance(first, RelayError):
            response.status_code = first.status
            response.headers.update({"content-type": "application/json", **first.headers})
            yield json.dumps(first.as_json())
            return
        response.headers.update(STREAM_HEADERS)
        yield as_server_sent(first)
        async for event in told:
            yield as_server_sent(event)
