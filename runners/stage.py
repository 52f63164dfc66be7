"""What both stages have in common: the engine over a UNet, the state of a job, the finished picture."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from runners.door import Door
from runners.frames import Frame, Kind
from runners.gauges import forget_the_dead
from runners.memory import give_back
from runners.metrics import StageMetrics
from runners.models import StageModels
from runners.server import look_after_server, running_server
from runners.shelf import Known
from sdxl.config.settings import Settings, StageName
from sdxl.denoising.guidance import GuidancePlan
from sdxl.denoising.latents import decode
from sdxl.denoising.prompt import check_clip_skip, img2img_conditioning, truncated
from sdxl.denoising.start import Start
from sdxl.denoising.state import denoising
from sdxl.denoising.wording import Steps, Words
from sdxl.errors import RelayError
from sdxl.handoff.fields import HandOffFields
from sdxl.models.checkpoint import Checkpoint, with_sampler
from sdxl.models.chunks import CHUNK_TOKENS
from sdxl.models.facts import VAE_FACTOR
from sdxl.models.lora import Chosen
from sdxl.models.preview import running_latents
from sdxl.request.limits import Limits
from sdxl.request.settled import Edit, Generation, Refinement
from stepbatch.contexts import ContextLimit
from stepbatch.denoising import Conditioning, Denoising
from stepbatch.engine import Engine
from stepbatch.job import Job, Need
from stepbatch.lead import OneTickAhead
from stepbatch.policy import FirstComeFirstServed, Policy, ShortestRemainingWork

# A job may be overtaken for 50 times as long as it takes in full ticks. In simulations of the load benchmark (70% and
# 85% of capacity), less lets short jobs wait for long ones, and more only delays the long ones.
STRETCH = 50.0
LOAD_STRETCH = 2.0  # a job whose model is not there may be overtaken for so many times as long as its load takes
LOW_PRIORITY_S = 60.0
LONGEST_TICK_CHUNKS = 6  # contexts are repeated up to so many chunks for each other: 1 to 4 and 6 can go together
LOOK_AT_FILES_S = 5.0
SLACK = 10.0  # work may take so many times as long as it should on a machine that has other work


@dataclass(kw_only=True, eq=False, repr=False)
class StageJob(Job[Frame]):
    """A job that knows its model, and what comes after it."""

    known: Known
    steps_after: int = 0  # those that are left to the refiner

    @property
    def work_after(self) -> float:
        """About what the refiner's steps ask of it, as if they were this stage's."""
        return self.remaining_work * self.steps_after / max(self.steps, 1)


class Stage(ABC):
    """One stage: its checkpoint, its engine, and what is counted of both."""

    NAME: ClassVar[StageName]

    def __init__(self, settings: Settings) -> None:
        """Loads the models that are to be there from the start. Raises ConfigurationError."""
        self.settings = settings
        self.models = StageModels(self.NAME, settings, self.any_conditioning, lambda: self.engine.wake())
        self.shelf, self.speed = self.models.shelf, self.models.speed
        forget_the_dead()
        self.metrics = StageMetrics(self.NAME)
        self.models.tell(self.metrics)
        self.engine = Engine(
            self.models.residence,
            _policy(settings, self.models),
            max_jobs=settings.max_jobs,
            seconds_per_work=self.speed.seconds_per_work,
            observer=self.metrics,
            after_tick=OneTickAhead() if self.models.device.startswith("cuda") else lambda: None,
            end_early=self.models.loads.interruptible.end_early,
            when_idle=self._rest,
        )
        self.engine.start()

    @abstractmethod
    def any_conditioning(self, known: Known, checkpoint: Checkpoint) -> Conditioning:
        """One row, to measure the model's speed by."""

    def open(self, door: Door) -> None:
        """Begins to take jobs, from those whom the door lets in."""
        door.status, door.offer, door.renew = self.models.status, self.models.offer, self.models.renew
        door.is_stuck = self.is_stuck
        self._looking = look_after_server(
            running_server(), door.drain, give_up=lambda: asyncio.to_thread(self.engine.stop)
        )
        self._renewing = asyncio.create_task(self._look_at_files())

    async def _look_at_files(self) -> None:
        while True:
            await asyncio.sleep(LOOK_AT_FILES_S)
            await asyncio.to_thread(self.models.renew)

    def there(self, known: Known) -> Checkpoint:
        """See `StageModels`."""
        return self.models.there(known)

    def is_stuck(self, times: float = 1.0) -> bool:
        """Whether the engine has been at one piece of work for so long, or `times` that, that it seems to hang."""
        return self.engine.stuck_s > times * max(self.settings.runner_silence_s, SLACK * self.speed.longest_s)

    def job(
        self,
        known: Known,
        prepare: Callable[[], Denoising],
        finish: Callable[[Tensor], Frame],
        *,
        guidance: GuidancePlan,
        size: tuple[int, int],
        timesteps: Tensor,
        decodes: bool,
        limits: Limits,
        loras: Chosen,
        steps_after: int = 0,
    ) -> StageJob:
        """A job of latents of `size` (height, width); `decodes` says whether its finish makes a picture.

        Raises RelayError (413) if they do not fit into the memory.
        """
        height, width = size
        self._check_memory(height * VAE_FACTOR, width * VAE_FACTOR)
        return StageJob(
            known=known,
            needs=(known.need, *(Need(known.need.model, key) for _, key in loras.names)),
            steps_after=steps_after,
            prepare=prepare,
            finish=finish,
            rows=guidance.rows,
            size=size,
            steps=len(timesteps),
            guided_steps=guidance.steps,
            finish_work=self.speed.decode_work_per_pixel * height * width if decodes else 0.0,
            is_low_priority=limits.is_low_priority,
            time_limit_s=limits.remaining_s,
        )

    def _rest(self) -> bool:
        give_back()
        return self.models.measure_again()

    def _check_memory(self, height: int, width: int) -> None:
        if height * width > self.models.largest_px:
            allowed = f"at most {self.models.largest_px} pixels, by the memory of the {self.NAME} runner"
            message = f"width x height: got {width} x {height}; allowed: {allowed}"
            raise RelayError(413, "no_memory", message, field="width", got=width)

    def preview(self, job: StageJob) -> NDArray[np.uint8]:
        """What its latents look like between two steps, uint8 [height/8, width/8, 3] (RGB)."""
        denoising = job.denoising
        next_step = min(denoising.next_step, denoising.steps - 1)
        latents = running_latents(denoising.sampler, denoising.latents, denoising.timesteps[next_step])
        return self.there(job.known).to_rgb.picture(latents)

    def img2img_job(
        self,
        known: Known,
        loras: Chosen,
        wanted: HandOffFields | Refinement | Edit,
        start: Start,
        guidance: GuidancePlan,
        finish: Callable[[Tensor], Frame],
        *,
        decodes: bool,
        limits: Limits,
        steps_after: int = 0,
    ) -> StageJob:
        """A job that begins with a picture, or with latents from another stage."""
        check_clip_skip(known.facts, wanted.clip_skip)
        height, width = start.size

        def prepare() -> Denoising:
            checkpoint = self.there(known)
            pipeline = with_sampler(checkpoint.img2img, start.sampler)
            latents, sampler = start.begin(pipeline)
            size_px = (height * VAE_FACTOR, width * VAE_FACTOR)
            done = wanted.steps_done if isinstance(wanted, HandOffFields) else 0
            steps = Steps.of(start.sampler, start.timesteps, wanted, done)
            conditioning = img2img_conditioning(checkpoint, wanted, size_px, guidance.rows, loras, steps)
            state = denoising(pipeline, latents, start.timesteps, conditioning, start.generator, guidance)
            state.sampler = sampler
            return state

        return self.job(
            known,
            prepare,
            finish,
            guidance=guidance,
            size=start.size,
            timesteps=start.timesteps,
            decodes=decodes,
            limits=limits,
            loras=loras,
            steps_after=steps_after,
        )

    def told(
        self, known: Known, loras: Chosen, wanted: Words, settled: Generation | Refinement | Edit | None
    ) -> dict[str, Any]:
        """What a result's meta says beside its own: for the answer's headers, and for the picture's record."""
        checkpoint = self.there(known)
        applied = {name: checkpoint.loras.digests[key] for name, key in loras.names}
        told = {
            "truncated": truncated(checkpoint, wanted),
            "checkpoints": {self.NAME: checkpoint.digest},
            "models": {self.NAME: known.model.name},
            "loras": {self.NAME: applied} if applied else {},
        }
        return told if settled is None else {**told, "settled": settled.model_dump()}

    def picture(self, known: Known, latents: Tensor, meta: dict[str, Any]) -> Frame:
        """Decodes latents [1, 4, h, w] to a result whose body is the picture's pixels."""
        begun = time.perf_counter()
        pixels = decode(self.there(known).pipeline, latents)
        self.metrics.decoded(time.perf_counter() - begun)
        height, width, _ = pixels.shape
        return Frame(kind=Kind.RESULT, meta={**meta, "width": width, "height": height}, body=pixels.tobytes())


def _policy(settings: Settings, models: StageModels) -> Policy:
    limit = models.speed.limit
    # With fixed rows, a picture's bytes must not depend on its company, and so neither may its contexts.
    contexts = ContextLimit(tokens=None if settings.fixed_rows else LONGEST_TICK_CHUNKS * CHUNK_TOKENS)
    if settings.policy == "fcfs":
        return FirstComeFirstServed(max_rows=limit.rows, contexts=contexts)
    return ShortestRemainingWork(
        limit=limit,
        patience=STRETCH * models.speed.seconds_per_work,
        low_priority_s=LOW_PRIORITY_S,
        load_delay=lambda job: LOAD_STRETCH * models.residence.wait_s(job),
        contexts=contexts,
    )
