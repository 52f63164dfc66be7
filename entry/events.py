"""A request's progress and its end as a stream of events, for every endpoint that streams."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from entry.answer import PictureFile
from entry.fleet.progress import Follower, Progress
from entry.places import Places
from runners.noted import note_error
from sdxl.errors import RelayError
from sdxl.picture.image import encode_preview

logger = logging.getLogger("bentoml.sdxl_relay")

HEARTBEAT_S = 5.0
HEARTBEAT = ": heartbeat\n\n"  # a comment: clients skip it, proxies see that the connection lives
STREAM_HEADERS = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
MakeToldOf = Callable[[Follower], Awaitable[PictureFile]]
Event = Progress | PictureFile | RelayError | None  # None: nothing has happened for HEARTBEAT_S


async def events(make: MakeToldOf, previews: int = 0) -> AsyncGenerator[Event, None]:
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


async def together(streams: Sequence[AsyncGenerator[Event, None]]) -> AsyncGenerator[tuple[int, Event], None]:
    """The events of several streams as they come, each with its stream's index. Leaving the generator ends them all."""
    heard: asyncio.Queue[tuple[int, Event] | None] = asyncio.Queue()

    async def listen(index: int, told: AsyncGenerator[Event, None]) -> None:
        try:
            async with aclosing(told):
                async for event in told:
                    heard.put_nowait((index, event))
        finally:
            heard.put_nowait(None)

    works = [asyncio.ensure_future(listen(index, told)) for index, told in enumerate(streams)]
    try:
        left = len(works)
        while left:
            if (found := await heard.get()) is None:
                left -= 1
            else:
                yield found
    finally:
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)


def server_sent(name: str, data: dict[str, Any]) -> str:
    """One Server-Sent Event."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def as_server_sent(event: Event, index: int | None = None) -> str:
    """An event as /generate_stream sends it: queued, progress, preview, result or error; or a heartbeat.

    `index` is the picture's, if there are several.
    """
    own = {} if index is None else {"index": index}
    match event:
        case None:
            return HEARTBEAT
        case Progress():
            eta_s = None if event.eta_s is None else round(event.eta_s, 2)
            if event.place is not None:
                return server_sent("queued", {**own, "stage": event.stage, "place": event.place, "eta_s": eta_s})
            progress = {"stage": event.stage, "step": event.step, "of": event.of, "share": round(event.share, 4)}
            told = server_sent("progress", {**own, **progress, "eta_s": eta_s})
            preview = event.preview
            return told if preview is None else told + server_sent("preview", {**own, **_preview(preview)})
        case PictureFile():
            return server_sent("result", {**own, **event.as_json()})
        case RelayError():
            return server_sent("error", {**own, **event.as_frame()})


def _preview(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    data = encode_preview(pixels, output_format="jpeg")
    return {"picture": base64.b64encode(data).decode("ascii"), "media_type": "image/jpeg"}


async def stream(
    makes: Sequence[MakeToldOf], previews: int, response: Any, places: Places
) -> AsyncGenerator[str, None]:
    """What becomes of each of `makes` as /generate_stream sends it. What is refused at once has a status instead.

    `response` is BentoML's, which asks it for status and headers before the first part is sent.
    """
    async with aclosing(_told(makes, previews, places)) as told:
        try:
            index, first = await anext(told)
        except RelayError as error:
            index, first = None, error
        if isinstance(first, RelayError):
            note_error(first)
            response.status_code = first.status
            response.headers.update({"content-type": "application/json", **first.headers})
            yield json.dumps(first.as_json())
            return
        response.headers.update(STREAM_HEADERS)
        yield as_server_sent(first, index)
        async for index, event in told:
            yield as_server_sent(event, index)


async def _told(
    makes: Sequence[MakeToldOf], previews: int, places: Places
) -> AsyncGenerator[tuple[int | None, Event], None]:
    """The events of one picture, without an index, or of several. Raises RelayError (429)."""
    if len(makes) == 1:
        async with aclosing(events(makes[0], previews)) as alone:
            async for event in alone:
                yield None, event
        return

    def in_place(make: MakeToldOf) -> MakeToldOf:
        async def made(follower: Follower) -> PictureFile:
            async with places.picture():
                return await make(follower)

        return made

    with places.request():
        async with aclosing(together([events(in_place(make), previews) for make in makes])) as told:
            async for index, event in told:
                yield index, event
