"""The base stage's service: from a prompt or a picture to a hand-off, or to a finished picture."""

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
from sdxl.request.fields import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from runners.base_jobs import BaseStage

MAX_EDIT_BYTES = MAX_REQUEST_BYTES + 4 * SETTINGS.max_pixels  # red, green, blue, and a mask
DOOR = Door(SETTINGS, {"/run": MAX_REQUEST_BYTES, "/edit": MAX_EDIT_BYTES})


@bentoml.service(name="sdxl_base", **RUNNER_OPTIONS)
class BaseRunner(Runner):
    """Serves the base UNet."""

    door = DOOR
    stage: BaseStage

    @bentoml.on_deployment
    def prepare() -> None:  # a static method, which BentoML makes of it
        """Runs in the process that starts this service's."""
        prepare_to_serve(SETTINGS, ["base"])

    def __init__(self) -> None:
        end_with_parent()
        quiet_libraries()
        see_own_gpu("base", SETTINGS.device)
        with loading("base", SETTINGS):
            with importing():
                from runners.base_jobs import BaseStage

            self.stage = BaseStage(SETTINGS)

    @bentoml.api
    async def run(self, payload: Octets, /, ctx: bentoml.Context) -> AsyncGenerator[bytes, None]:
        """Takes a `GenerationRequest` with its seed, as JSON; streams frames (runners/frames.py)."""
        async for frame in stream_job(self.stage, self.stage.job_from_prompt, payload, ctx):
            yield frame

    @bentoml.api
    async def edit(self, payload: Octets, /, ctx: bentoml.Context) -> AsyncGenerator[bytes, None]:
        """Takes a picture, and a mask or none, with an `EditRequest` (a picture frame); streams frames."""
        async for frame in stream_job(self.stage, self.stage.job_from_picture, payload, ctx):
            yield frame


guard(BaseRunner, DOOR)
