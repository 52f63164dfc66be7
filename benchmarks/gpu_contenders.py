"""Who makes the pictures in the GPU benchmark: diffusers' pipelines, plain or compiled, and this engine."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from numpy.typing import NDArray
from torch import Tensor

from runners.probe import Probe
from runners.speed import measure
from sdxl.config.settings import Settings
from sdxl.denoising.latents import decode
from sdxl.denoising.prompt import base_conditioning, img2img_conditioning
from sdxl.denoising.sampler import base_steps, cutoff_timestep, make_sampler, refiner_steps
from sdxl.models.checkpoint import Checkpoint
from sdxl.models.facts import VAE_FACTOR, Facts
from sdxl.models.lora import LoadedLoras
from sdxl.models.placement import place
from sdxl.models.preview import LatentToRGB
from sdxl.models.unet import make_unet, unet_of
from sdxl.request.requests import GenerationRequest
from sdxl.request.settled import Defaults, Generation
from stepbatch.denoising import Conditioning, Denoising
from stepbatch.engine import Engine
from stepbatch.job import Job
from stepbatch.lead import OneTickAhead
from stepbatch.models import OneModel
from stepbatch.policy import FirstComeFirstServed
from stepbatch.tick import UNet

PROMPT = "a red cube on top of a blue sphere"
Pictures = list[NDArray[np.uint8]]
STAGES = ("base", "refiner")


@dataclass(frozen=True, kw_only=True)
class Work:
    """One picture's: Euler, with guidance; without a share for the base, the base does it alone."""

    side_px: int
    steps: int
    guidance: float
    base_share: float | None = None

    @property
    def rows(self) -> int:
        """Of a step: two with guidance."""
        return 2 if self.guidance > 1 else 1

    @property
    def request(self) -> Generation:
        """The same as a request."""
        request = GenerationRequest(
            prompt=PROMPT,
            seed=0,
            num_inference_steps=self.steps,
            guidance_scale=self.guidance,
            refine="none" if self.base_share is None else "ensemble",
            high_noise_frac=self.base_share,
            width=self.side_px,
            height=self.side_px,
        )
        return request.with_defaults(Defaults())


class Contender(Protocol):
    """Makes pictures; for a given seed, all make the same."""

    def pictures(self, work: Work, seeds: Sequence[int]) -> Pictures:
        """All at once; returns when they are there."""

    def unet(self, stage: str) -> UNet:
        """What a step calls."""


class Diffusers:
    """The model cards' code, all pictures in one batch."""

    def __init__(self, pipelines: dict[str, Any], *, compiled: bool) -> None:
        self._pipelines = {stage: copy.copy(pipeline) for stage, pipeline in pipelines.items()}
        if compiled:
            for pipeline in self._pipelines.values():
                pipeline.unet = torch.compile(pipeline.unet, dynamic=False)

    def pictures(self, work: Work, seeds: Sequence[int]) -> Pictures:
        """See `Contender`."""
        generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        common: dict[str, Any] = {
            **{"prompt": PROMPT, "num_inference_steps": work.steps, "guidance_scale": work.guidance},
            **{"num_images_per_prompt": len(seeds), "generator": generators},
        }
        side = {"width": work.side_px, "height": work.side_px}
        if work.base_share is None:
            made = self._pipelines["base"](**common, **side, output_type="np").images
        else:
            latents = self._pipelines["base"](
                **common, **side, denoising_end=work.base_share, output_type="latent"
            ).images
            made = self._pipelines["refiner"](
                **common, image=latents, denoising_start=work.base_share, output_type="np"
            ).images
        return [(picture * 255).round().astype(np.uint8) for picture in made]

    def unet(self, stage: str) -> UNet:
        """See `Contender`."""
        return unet_of(self._pipelines[stage].unet)


def _facts(pipeline: Any) -> Facts:
    """Of a pipeline that was made without files."""
    return Facts(
        folder=Path(),
        sampler=pipeline.scheduler,
        defaults=Defaults(),
        latent_scale=pipeline.vae.config.scaling_factor,
        max_clip_skip=0,
        size_bytes=0,
    )


class Relay:
    """This project: both stages' engines, on one device; as a context manager they start and stop."""

    def __init__(self, pipelines: dict[str, Any], settings: Settings, device: str) -> None:
        self._checkpoints: dict[str, Checkpoint] = {}
        self._unets: dict[str, UNet] = {}
        self._engines: dict[str, Engine] = {}
        for stage in STAGES:
            place(pipelines[stage], settings, device)
            checkpoint = Checkpoint(
                pipeline=pipelines[stage],
                facts=_facts(pipelines[stage]),
                to_rgb=LatentToRGB.of(None, device),
                digest="",
                device=device,
                dtype=pipelines[stage].unet.dtype,
                backend="torch",
                loras=LoadedLoras(pipelines[stage]),
            )
            self._checkpoints[stage] = checkpoint
            # Each stage's start ends what may be compiled in a process; elsewhere it has one of its own.
            torch.compiler.set_stance("default")
            self._unets[stage] = make_unet(checkpoint, settings)
            work = Work(side_px=VAE_FACTOR * checkpoint.pipeline.unet.config.sample_size, steps=1, guidance=1.0)
            speed = measure(Probe(checkpoint, self._unets[stage], self.conditioning(stage, work)), settings)
            self._engines[stage] = Engine(
                OneModel(self._unets[stage]),
                FirstComeFirstServed(max_rows=speed.limit.rows),
                max_jobs=1_000,
                seconds_per_work=speed.seconds_per_work,
                after_tick=OneTickAhead() if device.startswith("cuda") else lambda: None,
            )

    def __enter__(self) -> Relay:
        for engine in self._engines.values():
            engine.start()
        return self

    def __exit__(self, *_: object) -> None:
        for engine in self._engines.values():
            engine.stop()

    def pictures(self, work: Work, seeds: Sequence[int]) -> Pictures:
        """See `Contender`. Each picture's latents go to the refiner as soon as the base has them."""
        futures = [self._submit(work, seed) for seed in seeds]
        return [future.result() for future in futures]

    def unet(self, stage: str) -> UNet:
        """See `Contender`."""
        return self._unets[stage]

    @torch.inference_mode()
    def conditioning(self, stage: str, work: Work) -> Conditioning:
        """Of one row, or of two with guidance."""
        conditioning = base_conditioning if stage == "base" else img2img_conditioning
        side = (work.side_px, work.side_px)
        return conditioning(self._checkpoints[stage], work.request, side, work.rows)[0]

    def _submit(self, work: Work, seed: int) -> Future[NDArray[np.uint8]]:
        done: Future[NDArray[np.uint8]] = Future()
        if work.base_share is None:
            sampler = self._sampler("base")
            job = self._job("base", work, seed, sampler, base_steps(sampler, work.steps, None), decodes=True)
            job.future.add_done_callback(lambda future: _pass_on(future, done))
            self._engines["base"].submit(job)
            return done
        cutoff = cutoff_timestep(work.base_share)

        def hand_off(future: Future[Any]) -> None:
            sampler = self._sampler("refiner")
            timesteps = refiner_steps(sampler, work.steps, cutoff)
            job = self._job("refiner", work, seed, sampler, timesteps, latents=future.result(), decodes=True)
            job.future.add_done_callback(lambda last: _pass_on(last, done))
            self._engines["refiner"].submit(job)

        sampler = self._sampler("base")
        job = self._job("base", work, seed, sampler, base_steps(sampler, work.steps, cutoff), decodes=False)
        job.future.add_done_callback(hand_off)
        self._engines["base"].submit(job)
        return done

    def _sampler(self, stage: str) -> Any:
        return make_sampler("euler", self._checkpoints[stage].facts.scheduler_config)

    def _job(
        self,
        stage: str,
        work: Work,
        seed: int,
        sampler: Any,
        timesteps: Tensor,
        *,
        latents: Tensor | None = None,
        decodes: bool,
    ) -> Job[Any]:
        checkpoint, side = self._checkpoints[stage], work.side_px // VAE_FACTOR

        def prepare() -> Denoising:
            generator = torch.Generator("cpu").manual_seed(seed)
            noise = randn_tensor((1, 4, side, side), generator, torch.device(checkpoint.device), checkpoint.dtype)
            return Denoising(
                latents=noise * sampler.init_noise_sigma if latents is None else latents,
                sampler=sampler,
                timesteps=timesteps,
                conditioning=self.conditioning(stage, work),
                guidance_scale=work.guidance,
                step_options={"generator": generator},
            )

        def finish(final: Tensor) -> Any:
            return decode(checkpoint.pipeline, final) if decodes else final

        return Job(prepare=prepare, finish=finish, rows=work.rows, size=(side, side), steps=len(timesteps))


def _pass_on(future: Future[Any], to: Future[Any]) -> None:
    error = future.exception()
    if error is not None:
        to.set_exception(error)
    else:
        to.set_result(future.result())
