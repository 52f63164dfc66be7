"""What both stages have in common: the engine over a UNet, the state of a job, the finished picture."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from runners.bento_models import folder_of
from runners.door import Door
from runners.frames import Frame, Kind
from runners.gauges import forget_the_dead
from runners.memory import give_back, largest_picture_px
from runners.metrics import StageMetrics
from runners.probe import Probe
from runners.server import look_after_server, running_server
from runners.speed import Speed, measure, measuring_again
from sdxl.config.references import name_of
from sdxl.config.settings import Settings, StageName
from sdxl.denoising import sampler as samplers
from sdxl.denoising.guidance import GuidancePlan
from sdxl.denoising.latents import decode
from sdxl.denoising.prompt import Words, check_clip_skip, img2img_conditioning, truncated
from sdxl.denoising.start import Start
from sdxl.denoising.state import denoising
from sdxl.errors import RelayError
from sdxl.handoff import document as handoff
from sdxl.handoff.fields import HandOffFields
from sdxl.handoff.identity import Identity
from sdxl.models import checkpoint as checkpoints
from sdxl.models.checkpoint import VAE_FACTOR, with_sampler
from sdxl.models.interrupt import ending_early
from sdxl.models.preview import running_latents
from sdxl.models.unet import make_unet
from sdxl.request.limits import Limits
from sdxl.request.loras import Loras
from sdxl.request.settled import Card, Edit, Generation, Refinement
from stepbatch.denoising import Conditioning, Denoising
from stepbatch.engine import Engine
from stepbatch.job import Job
from stepbatch.lead import OneTickAhead
from stepbatch.models import OneModel
from stepbatch.policy import FirstComeFirstServed, Policy, ShortestRemainingWork

# A job may be overtaken for 50 times as long as it takes in full ticks. In simulations of the load benchmark (70% and
# 85% of capacity), less lets short jobs wait for long ones, and more only delays the long ones.
STRETCH = 50.0
LOW_PRIORITY_S = 60.0
SLACK = 10.0  # work may take so many times as long as it should on a machine that has other work


@dataclass(kw_only=True, eq=False, repr=False)
class StageJob(Job[Frame]):
    """A job that knows what comes after it."""

    steps_after: int = 0  # those that are left to the refiner

    @property
    def work_after(self) -> float:
        """About what the refiner's steps ask of it, as if they were this stage's."""
        return self.remaining_work * self.steps_after / max(self.steps, 1)


class Stage(ABC):
    """One stage: its checkpoint, its engine, and what is counted of both."""

    NAME: ClassVar[StageName]

    def __init__(self, settings: Settings) -> None:
        """Loads the checkpoint and measures what time and memory it takes.

        That happens on a thread that ends then, which leaves the calling thread without OpenMP's workers. Had
        this thread workers too, besides the engine's, there would be more of them than cores, and OpenMP would
        put each to sleep after every operation: on two cores, a tick then takes twice as long.
        """
        self.settings = settings
        with ThreadPoolExecutor(1) as pool:
            self.checkpoint = pool.submit(checkpoints.load, self.NAME, settings, folder_of).result()
            unet = pool.submit(make_unet, self.checkpoint, settings).result()
            probe = Probe(self.checkpoint, unet, pool.submit(torch.inference_mode()(self.any_conditioning)).result())
            self.speed = pool.submit(measure, probe, settings).result()
            self.largest_px = pool.submit(largest_picture_px, probe, self.speed.limit.rows, settings).result()
        forget_the_dead()
        self.metrics = StageMetrics(self.NAME)
        self._measure_again = measuring_again(probe, self.speed, settings, self.metrics.row_limit.set)
        self.checkpoint.prompts.tell = self.metrics.encoded
        self.engine = Engine(
            OneModel(unet),
            _policy(settings, self.speed),
            max_jobs=settings.max_jobs,
            seconds_per_work=self.speed.seconds_per_work,
            observer=self.metrics,
            after_tick=OneTickAhead() if self.checkpoint.device.startswith("cuda") else lambda: None,
            switch=self.checkpoint.loras.switch,
            end_early=ending_early(self.checkpoint, settings),
            when_idle=self._rest,
        )
        self.engine.start()

    @abstractmethod
    def any_conditioning(self) -> Conditioning:
        """One row, to measure the model's speed by."""

    def open(self, door: Door) -> None:
        """Begins to take jobs, from those whom the door lets in."""
        checkpoint = self.checkpoint
        door.identity = Identity(
            checkpoint=checkpoint.digest,
            dtype=str(checkpoint.dtype),
            backend=checkpoint.backend,
            handoff_version=handoff.VERSION,
            schedule=samplers.schedule(samplers.make_sampler("euler", checkpoint.scheduler_config)),
            latent_scale=checkpoint.pipeline.vae.config.scaling_factor,
            loras=checkpoint.loras.digest,
        )
        door.card = Card.of(checkpoint.defaults, name_of(getattr(self.settings, self.NAME), self.NAME))
        door.is_stuck = self.is_stuck
        self._looking = look_after_server(
            running_server(), door.drain, give_up=lambda: asyncio.to_thread(self.engine.stop)
        )

    def is_stuck(self, times: float = 1.0) -> bool:
        """Whether the engine has been at one piece of work for so long, or `times` that, that it seems to hang."""
        return self.engine.stuck_s > times * max(self.settings.runner_silence_s, SLACK * self.speed.longest_s)

    def job(
        self,
        prepare: Callable[[], Denoising],
        finish: Callable[[Tensor], Frame],
        *,
        guidance: GuidancePlan,
        size: tuple[int, int],
        timesteps: Tensor,
        decodes: bool,
        limits: Limits,
        loras: Loras,
        steps_after: int = 0,
    ) -> StageJob:
        """A job of latents of `size` (height, width); `decodes` says whether its finish makes a picture.

        Raises RelayError (413) if they do not fit into the memory.
        """
        height, width = size
        self._check_memory(height * VAE_FACTOR, width * VAE_FACTOR)
        return StageJob(
            steps_after=steps_after,
            prepare=prepare,
            finish=finish,
            rows=guidance.rows,
            size=size,
            steps=len(timesteps),
            adapters=self.checkpoint.loras.chosen(loras),
            guided_steps=guidance.steps,
            finish_work=self.speed.decode_work_per_pixel * height * width if decodes else 0.0,
            is_low_priority=limits.is_low_priority,
            time_limit_s=limits.remaining_s,
        )

    def _rest(self) -> bool:
        give_back()
        return self._measure_again()

    def _check_memory(self, height: int, width: int) -> None:
        if height * width > self.largest_px:
            allowed = f"at most {self.largest_px} pixels, by the memory of the {self.NAME} runner"
            message = f"width x height: got {width} x {height}; allowed: {allowed}"
            raise RelayError(413, "no_memory", message, field="width", got=width)

    def preview(self, denoising: Denoising) -> NDArray[np.uint8]:
        """What its latents look like between two steps, uint8 [height/8, width/8, 3] (RGB)."""
        next_step = min(denoising.next_step, denoising.steps - 1)
        latents = running_latents(denoising.sampler, denoising.latents, denoising.timesteps[next_step])
        return self.checkpoint.to_rgb.picture(latents)

    def img2img_job(
        self,
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
        check_clip_skip(self.checkpoint, wanted.clip_skip)
        height, width = start.size

        def prepare() -> Denoising:
            pipeline = with_sampler(self.checkpoint.img2img, start.sampler)
            latents, sampler = start.begin(pipeline)
            size_px = (height * VAE_FACTOR, width * VAE_FACTOR)
            conditioning = img2img_conditioning(self.checkpoint, wanted, size_px, guidance.rows)
            state = denoising(pipeline, latents, start.timesteps, conditioning, start.generator, guidance)
            state.sampler = sampler
            return state

        return self.job(
            prepare,
            finish,
            guidance=guidance,
            size=start.size,
            timesteps=start.timesteps,
            decodes=decodes,
            limits=limits,
            loras=wanted.loras,
            steps_after=steps_after,
        )

    def told(self, wanted: Words, settled: Generation | Refinement | Edit | None) -> dict[str, Any]:
        """What a result's meta says beside its own: for the answer's headers, and for the picture's record."""
        applied = self.checkpoint.loras.applied(wanted.loras)
        told = {
            "truncated": truncated(self.checkpoint, wanted),
            "checkpoints": {self.NAME: self.checkpoint.digest},
            "loras": {self.NAME: applied} if applied else {},
        }
        return told if settled is None else {**told, "settled": settled.model_dump()}

    def picture(self, latents: Tensor, meta: dict[str, Any]) -> Frame:
        """Decodes latents [1, 4, h, w] to a result whose body is the picture's pixels."""
        begun = time.perf_counter()
        pixels = decode(self.checkpoint.pipeline, latents)
        self.metrics.decoded(time.perf_counter() - begun)
        height, width, _ = pixels.shape
        return Frame(kind=Kind.RESULT, meta={**meta, "width": width, "height": height}, body=pixels.tobytes())


def _policy(settings: Settings, speed: Speed) -> Policy:
    if settings.policy == "fcfs":
        return FirstComeFirstServed(max_rows=speed.limit.rows)
    return ShortestRemainingWork(
        limit=speed.limit, patience=STRETCH * speed.seconds_per_work, low_priority_s=LOW_PRIORITY_S
    )
