"""The refiner stage's service: from a hand-off, or from a picture, to a finished picture."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import bentoml

from runners.door import Door, guard
from runners.ending import loading, prepare_to_serve
from runners.gpus import see_own_gpu
from runners.log import quiet_libraries
from runners.runner import RUNNER_OPTIONS, SETTINGS, Runner, importing
from runners.stream import Octets, stream_job
from runners.supervisor import end_with_parent
from sdxl.handoff.size import max_bytes
from sdxl.request.fields import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from runners.refiner_jobs import RefinerStage

MAX_REFINE_BYTES = MAX_REQUEST_BYTES + 3 * SETTINGS.max_pixels  # red, green, blue
DOOR = Door(SETTINGS, {"/run": max_bytes(SETTINGS.max_pixels), "/refine": MAX_REFINE_BYTES})


@bentoml.service(name="sdxl_refiner", **RUNNER_OPTIONS)
class RefinerRunner(Runner):
    """Serves the refiner UNet."""

    door = DOOR
    stage: RefinerStage

    @bentoml.on_deployment
    def prepare() -> None:  # a static method, which BentoML makes of it
        """Runs in the process that starts this service's."""
        prepare_to_serve(SETTINGS, ["refiner"])

    def __init__(self) -> None:
        end_with_parent()
        quiet_libraries()
        see_own_gpu("refiner", SETTINGS.device)
        with loading("refiner", SETTINGS):
            with importing():
                from runners.refiner_jobs import RefinerStage

            self.stage = RefinerStage(SETTINGS)

    @bentoml.api
    async def run(self, payload: Octets, /, ctx: bentoml.Context) -> AsyncGenerator[bytes, None]:
        """Takes a hand-off (docs/reference/handoff.md); streams frames (runners/frames.py)."""
        async for frame in stream_job(self.stage, self.stage.job_from_handoff, payload, ctx):
            yield frame

    @bentoml.api
    async def refine(self, payload: Octets, /, ctx: bentoml.Context) -> AsyncGenerator[bytes, None]:
        """Takes a picture with its `RefineRequest` (a picture frame); streams frames."""
        async for frame in stream_job(self.stage, self.stage.job_from_picture, payload, ctx):
            yield frame


guard(RefinerRunner, DOOR)
