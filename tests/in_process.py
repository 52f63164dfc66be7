"""Both stages in the test's own process: the real checkpoints, engines and jobs, without HTTP between them."""

from __future__ import annotations

import asyncio
import json
import warnings
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of what BentoML imports
    import bentoml.validators  # noqa: F401

from entry.answer import PictureFile
from entry.fleet.fleet import Fleet
from entry.fleet.progress import Follower
from entry.pictures import Pictures
from runners.base_jobs import BaseStage
from runners.frames import Frame, Kind
from runners.refiner_jobs import RefinerStage
from runners.stage import Stage, StageJob
from runners.stream import stream_job
from sdxl.config.settings import MINI, Settings
from sdxl.errors import RelayError
from sdxl.handoff.offer import Offer
from sdxl.picture.image import opened_picture, read_picture
from sdxl.picture.metadata import Metadata
from sdxl.picture.record import as_json
from sdxl.request.limits import LIMITS, Limits
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest

Pixels = NDArray[np.uint8]
MakeJob = Callable[[bytes, Limits], StageJob]


class _StageClient:
    """In place of the entry's `StageClient`: its calls go to a stage of this process, frame by frame."""

    def __init__(self, stage: Stage, jobs: dict[str, MakeJob]) -> None:
        self._stage, self._jobs = stage, jobs
        self.ready: list[object] = [stage]
        self.replicas: list[Any] = []

    @property
    def offers(self) -> list[Offer]:
        return [self._stage.models.offer()]

    async def call(
        self,
        endpoint: str,
        payload: bytes,
        limits: Limits,
        follower: Follower,
        **_: Any,
    ) -> Frame:
        headers = {**follower.headers, **limits.as_headers()}
        ctx: Any = SimpleNamespace(request=SimpleNamespace(headers=headers), response=SimpleNamespace(headers={}))
        stream: AsyncGenerator[bytes, None] = stream_job(self._stage, self._jobs[endpoint], payload, ctx)
        async for data in stream:
            if hasattr(ctx.response, "status_code"):
                raise RelayError.from_frame({**json.loads(data), "status": ctx.response.status_code})
            frame = Frame.decode(data)
            follower.hear(self._stage.NAME, frame)
            if frame.kind is Kind.RESULT:
                return frame
            if frame.kind is Kind.ERROR:
                raise RelayError.from_frame(frame.meta)
        raise AssertionError("a stream without an end")


class Studio:
    """Makes pictures as the server does, but for HTTP. Its methods may be called from several threads at once."""

    def __init__(self, base_stage: BaseStage, refiner_stage: RefinerStage) -> None:
        self.settings = base_stage.settings
        self.base, self.refiner = base_stage, refiner_stage
        base = _StageClient(self.base, {"run": self.base.job_from_prompt, "edit": self.base.job_from_picture})
        refiner = _StageClient(
            self.refiner, {"run": self.refiner.job_from_handoff, "refine": self.refiner.job_from_picture}
        )
        fleet: Any = Fleet(self.settings)
        fleet.base, fleet.refiner = fleet.stages = base, refiner
        self.fleet = fleet
        self.pictures = Pictures(fleet, self.settings)

    def generate(self, **fields: Any) -> Pixels:
        """A picture of /generate, uint8 [height, width, 3]. Raises RelayError."""
        return as_pixels(self.generated(**fields))

    def generated(self, **fields: Any) -> PictureFile:
        """The same as a file, with what the answer's headers say."""
        return self._run(lambda: self.pictures.generate(GenerationRequest.model_validate_json(json.dumps(fields))))

    def refine(self, picture: bytes, **fields: Any) -> Pixels:
        """A picture of /refine."""
        return as_pixels(self.refined(picture, **fields))

    def refined(self, picture: bytes, **fields: Any) -> PictureFile:
        """The same as a file."""
        request = RefineRequest.model_validate_json(json.dumps(fields))
        return self._run(lambda: self.pictures.refine(cast(Path, picture), request))

    def edit(self, picture: bytes, mask: bytes | None = None, **fields: Any) -> Pixels:
        """A picture of /edit."""
        return as_pixels(self.edited(picture, mask, **fields))

    def edited(self, picture: bytes, mask: bytes | None = None, **fields: Any) -> PictureFile:
        """The same as a file."""
        request = EditRequest.model_validate_json(json.dumps(fields))
        return self._run(lambda: self.pictures.edit(cast(Path, picture), cast(Any, mask), request))

    def stop(self) -> None:
        self.base.engine.stop()
        self.refiner.engine.stop()

    def _run(self, make: Callable[[], Any]) -> Any:
        async def made() -> Any:
            LIMITS.set(Limits.from_headers({}, self.settings.timeout_s))
            return await make()

        return asyncio.run(made())


@contextmanager
def studio(**settings: Any) -> Iterator[Studio]:
    """A studio until the block ends; its settings are those of torch unless they say otherwise."""
    of_both = Settings(**{"backend": "torch", "refiner": str(MINI / "refiner"), **settings})
    opened = Studio(BaseStage(of_both), RefinerStage(of_both))
    try:
        yield opened
    finally:
        opened.stop()


def as_pixels(file: PictureFile) -> Pixels:
    return np.asarray(read_picture(file.data, max_bytes=10**8, max_pixels=10**8))


def metadata_of_file(data: bytes) -> Metadata:
    """What a picture's file says of its making."""
    with opened_picture(data, max_bytes=10**8, max_pixels=10**8) as picture:
        return Metadata.read(picture)


def record_of_file(data: bytes) -> dict[str, Any]:
    """The record of that, as /provenance answers it."""
    record = metadata_of_file(data).record
    assert record is not None
    told: dict[str, Any] = json.loads(as_json(record))
    return told
