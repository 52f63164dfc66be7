"""A runner's side of a call: takes a job into the engine, and streams what becomes of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from dataclasses import asdict
from math import ceil
from typing import Annotated, Any

from bentoml.validators import ContentType
from pydantic import ValidationError

from runners.frames import Frame, FrameError, Kind, next_frame
from runners.stage import RunnerStage
from sdxl.errors import RelayError, invalid_request
from stepbatch.errors import DeadlinePassed, EngineStopped, NonFiniteLatents, QueueFull
from stepbatch.job import Job

# Raw bytes travel as they are on every transport, and are never pickled.
Octets = Annotated[bytes, ContentType("application/octet-stream")]
ResponseContext = Any  # bentoml's ServiceContext.ResponseContext, which it does not export

logger = logging.getLogger("bentoml.sdxl_relay")


async def stream_job(
    stage: RunnerStage, make_job: Callable[[], Job[Frame]], response: ResponseContext
) -> AsyncGenerator[bytes, None]:
    """Frames of one job. Leaving the generator early, as a lost client does, cancels the job.

    A job that is refused has no frames: `response` gets the status, and the body is the error.
    """
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[Frame] = asyncio.Queue()

    def post(frame: Frame) -> None:  # from the engine's thread
        loop.call_soon_threadsafe(frames.put_nowait, frame)

    def post_step(done: int, steps: int) -> None:
        post(Frame(kind=Kind.PROGRESS, meta={"step": done, "steps": steps, "work": job.remaining_work}))

    def post_end(future: Future[Frame]) -> None:
        post(_ending(job, future))

    try:
        job = make_job()
        job.on_step = post_step
        stage.engine.submit(job)
    except Exception as error:
        stage.metrics.refused()
        yield _refuse(_as_relay_error(error), response)
        return
    job.future.add_done_callback(post_end)
    try:
        frame = Frame(kind=Kind.ACCEPTED, meta={"work": job.remaining_work})
        yield frame.encode()
        while frame.kind < Kind.RESULT:
            frame = await next_frame(frames, stage.is_stuck, otherwise=frame)
            yield frame.encode()
    finally:
        job.cancel()


def _refuse(error: RelayError, response: ResponseContext) -> bytes:
    """Before a stream's first bytes, BentoML still asks the context for its status and headers."""
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
    return Frame(kind=Kind.ERROR, meta=_as_relay_error(error).as_frame())


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
        return RelayError(504, "timeout", str(error))
    if isinstance(error, EngineStopped):
        return RelayError(503, "stopping", "the runner is stopping", retry_after_s=5)
    if isinstance(error, NonFiniteLatents):
        return RelayError(500, "non_finite", "the model gave latents that are not finite; the server is at fault")
    logger.error("a job failed", exc_info=error)
    return RelayError(500, "job_failed", f"the job failed ({type(error).__name__}); the server is at fault")
