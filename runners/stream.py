"""A runner's side of a call: takes a job into the engine, and streams what becomes of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import asdict
from math import ceil
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from bentoml import Context
from bentoml.validators import ContentType
from numpy.typing import NDArray
from pydantic import ValidationError

from runners.frames import PREVIEWS, STEPS_BEFORE, STEPS_BEYOND, Frame, FrameError, Kind, next_frame
from runners.noted import note_error
from runners.runner import SETTINGS
from sdxl.errors import LATE, RelayError, invalid_request
from sdxl.request.limits import Limits
from stepbatch.errors import DeadlinePassed, EngineStopped, ModelTooLarge, NonFiniteLatents, QueueFull

if TYPE_CHECKING:
    from runners.stage import Stage, StageJob
    from stepbatch.job import Job

# Raw bytes travel as they are on every transport, and are never pickled.
Octets = Annotated[bytes, ContentType("application/octet-stream")]

logger = logging.getLogger("bentoml.sdxl_relay")


async def stream_job(
    stage: Stage, make_job: Callable[[bytes, Limits], StageJob], payload: bytes, ctx: Context
) -> AsyncGenerator[bytes, None]:
    """Frames of one job. Leaving the generator early, as a lost client does, cancels the job.

    With them come previews, as many as the entry asks for, spread evenly over the request's steps in both stages.

    A job that is refused has no frames: `ctx.response` gets the status, and the body is the error.
    """
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[Frame] = asyncio.Queue()
    steps_done = 0

    def post(frame: Frame) -> None:  # from the engine's thread
        loop.call_soon_threadsafe(frames.put_nowait, frame)

    def state(kind: Kind, preview: NDArray[np.uint8] | None = None) -> Frame:
        place = stage.engine.place(job)
        meta = {"work": job.remaining_work, "place": place, "step": steps_done, **span}
        if place is not None:
            meta["eta_s"] = stage.engine.forecast_s(job, further_work=job.work_after)
        if preview is None:
            return Frame(kind=kind, meta=meta)
        height, width, _ = preview.shape
        return Frame(kind=kind, meta={**meta, "height": height, "width": width}, body=preview.tobytes())

    def post_step(done: int, _: int) -> None:
        nonlocal steps_done
        steps_done = done
        is_due = steps_before + done in preview_steps
        post(state(Kind.PROGRESS, stage.preview(job) if is_due else None))

    def post_end(future: Future[Frame]) -> None:
        post(_ending(job, future))

    try:
        job = make_job(payload, Limits.from_headers(ctx.request.headers, SETTINGS.timeout_s))
        span = {"steps": job.steps, "after": job.steps_after}
        steps_before = _count(ctx, STEPS_BEFORE)
        steps = steps_before + job.steps + job.steps_after + _count(ctx, STEPS_BEYOND)
        preview_steps = steps_to_show(_count(ctx, PREVIEWS), steps)
        job.on_step = post_step
        model_is_there = stage.models.is_there(job.known)
        stage.engine.submit(job)
    except Exception as error:
        stage.metrics.refused()
        yield _refuse(_as_relay_error(error), ctx.response)
        return
    stage.metrics.came(model_is_there=model_is_there)
    context = copy_context()  # of this request, for what is logged in the engine's thread
    job.future.add_done_callback(lambda future: context.run(post_end, future))
    try:
        frame = state(Kind.ACCEPTED)
        yield frame.encode()
        while frame.kind < Kind.RESULT:
            frame = await next_frame(frames, stage.is_stuck, lambda: state(Kind.PROGRESS))
            yield frame.encode()
    finally:
        job.cancel()


def _count(ctx: Context, header: str) -> int:
    """A small number that the entry's header says; anything else is none."""
    said = ctx.request.headers.get(header, "")
    return int(said) if said.isdecimal() and len(said) < 5 else 0


def steps_to_show(previews: int, steps: int) -> set[int]:
    """After which of a request's steps a preview is due: never after the last, for then the picture is."""
    return {round(steps * part / (previews + 1)) for part in range(1, previews + 1)} - {0, steps}


def _refuse(error: RelayError, response: Any) -> bytes:
    """Before a stream's first bytes, BentoML still asks the context for its status and headers."""
    note_error(error)
    response.status_code = error.status
    response.headers.update({"content-type": "application/json", **error.headers})
    return json.dumps(error.as_json()).encode()


def _ending(job: Job[Frame], future: Future[Frame]) -> Frame:
    if future.cancelled():
        return _error(RelayError(503, "cancelled", "the job was cancelled"))
    error = future.exception()
    if error is not None:
        return _error(error)
    result = future.result()
    return Frame(kind=Kind.RESULT, meta={**result.meta, "timings": asdict(job.timings)}, body=result.body)


def _error(error: BaseException) -> Frame:
    known = _as_relay_error(error)
    note_error(known)
    return Frame(kind=Kind.ERROR, meta=known.as_frame())


def _as_relay_error(error: BaseException) -> RelayError:
    if isinstance(error, RelayError):
        return error
    if isinstance(error, ValidationError):
        return invalid_request(error)
    if isinstance(error, FrameError):
        return RelayError(400, "invalid_frame", str(error))
    if isinstance(error, QueueFull):
        return RelayError(429, "queue_full", f"the queue is full: {error}", retry_after_s=ceil(error.retry_after_s))
    if isinstance(error, DeadlinePassed):
        return RelayError(504, "timeout", str(error), retry_after_s=LATE.retry_after_s)
    if isinstance(error, EngineStopped):
        return RelayError(503, "stopping", "the runner is stopping", retry_after_s=5)
    if isinstance(error, ModelTooLarge):
        return RelayError(413, "no_memory", f"model: it or a LoRA does not fit; {error}", field="model")
    if isinstance(error, NonFiniteLatents):
        return RelayError(500, "non_finite", "the model gave latents that are not finite; the server is at fault")
    logger.error("a job failed", exc_info=error)
    return RelayError(500, "job_failed", f"the job failed ({type(error).__name__}); the server is at fault")
