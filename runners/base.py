"""The base stage: from a prompt to latents at the cutoff, or to a finished picture."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any

import bentoml
import torch

from runners.door import Door, guard
from runners.frames import Frame, Kind
from runners.stage import RUNNER_OPTIONS, SETTINGS, RunnerStage, denoising, limits_of
from runners.stream import Octets, stream_job
from sdxl import sampler as samplers
from sdxl.checkpoint import VAE_FACTOR, Checkpoint
from sdxl.errors import invalid_field
from sdxl.handoff import HandOff
from sdxl.handoff_fields import HandOffFields
from sdxl.limits import Limits
from sdxl.prompt import base_conditioning, check_clip_skip, rows, truncated
from sdxl.request import MAX_REQUEST_BYTES, Generation, GenerationRequest
from stepbatch.job import Conditioning, Denoising, Job

# Fields of a request that the refiner needs just as they are.
AS_REQUESTED = {
    *("prompt", "prompt_2", "negative_prompt", "negative_prompt_2", "clip_skip", "width", "height"),
    *("crops_coords_top_left", "negative_crops_coords_top_left", "aesthetic_score", "negative_aesthetic_score"),
    *("scheduler", "num_inference_steps", "guidance_rescale", "seed"),
}
DOOR = Door(SETTINGS, {"/run": MAX_REQUEST_BYTES})


@bentoml.service(name="sdxl_base", **RUNNER_OPTIONS)
class BaseRunner:
    """Serves the base UNet."""

    def __init__(self) -> None:
        self.stage = RunnerStage("base", _any_conditioning)
        self.checkpoint = self.stage.checkpoint

    @bentoml.on_startup
    async def open_door(self) -> None:
        """Begins to take jobs."""
        self.stage.open(DOOR)

    @bentoml.api
    async def run(self, payload: Octets, /, ctx: bentoml.Context) -> AsyncGenerator[bytes, None]:
        """Takes a `GenerationRequest` with its seed, as JSON; streams frames (runners/frames.py)."""
        async for frame in stream_job(self.stage, lambda: self.job(payload, limits_of(ctx)), ctx.response):
            yield frame

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Lets no future wait for ever."""
        self.stage.engine.stop()

    def job(self, payload: bytes, limits: Limits) -> Job[Frame]:
        """The job for one request. Raises RelayError (400) for what this checkpoint or sampler cannot do."""
        wanted = GenerationRequest.model_validate_json(payload).with_defaults(self.checkpoint.defaults)
        self._check_pixels(wanted)
        check_clip_skip(self.checkpoint, wanted.clip_skip)
        sampler = samplers.make_sampler(wanted.scheduler, self.checkpoint.scheduler_config)
        cutoff = samplers.cutoff_timestep(wanted.high_noise_frac) if wanted.refine == "ensemble" else None
        if wanted.refine == "sdedit":  # what the refiner would refuse is refused before the base has worked for it
            refiner_sampler = samplers.make_sampler(wanted.scheduler, self.checkpoint.scheduler_config)
            samplers.img2img_steps(refiner_sampler, wanted.num_inference_steps, wanted.strength, self.checkpoint.device)
        timesteps = samplers.base_steps(sampler, wanted.num_inference_steps, cutoff, self.checkpoint.device)
        generator = torch.Generator("cpu").manual_seed(wanted.seed)

        def prepare() -> Denoising:
            size = (wanted.height, wanted.width)
            conditioning = base_conditioning(self.checkpoint, wanted, size, wanted.guidance_scale)
            pipeline = self.checkpoint.with_sampler(sampler)
            latents = pipeline.prepare_latents(
                1,
                pipeline.unet.config.in_channels,
                *size,
                conditioning.embeddings.dtype,
                self.checkpoint.device,
                generator,
            )
            return denoising(
                pipeline,
                latents,
                timesteps,
                conditioning,
                generator,
                wanted.guidance_scale,
                wanted.guidance_rescale,
            )

        def finish(latents: torch.Tensor) -> Frame:
            told = self.stage.told(truncated(self.checkpoint, wanted), wanted)
            if wanted.refine == "none":
                return self.stage.picture(latents, told)
            begun = time.perf_counter()
            document = HandOff(
                fields=self._handoff_fields(wanted, sampler, cutoff),
                latents=latents.cpu(),
                generator_state=generator.get_state(),
            ).encode()
            self.stage.metrics.handed_off(len(document), time.perf_counter() - begun)
            return Frame(kind=Kind.RESULT, meta={"handoff": True, **told}, body=document)

        return self.stage.job(
            prepare,
            finish,
            rows=rows(wanted.guidance_scale),
            size=(wanted.height // VAE_FACTOR, wanted.width // VAE_FACTOR),
            timesteps=timesteps,
            decodes=wanted.refine == "none",
            limits=limits,
        )

    def _check_pixels(self, wanted: Generation) -> None:
        limit = SETTINGS.max_pixels
        if wanted.width * wanted.height > limit:
            raise invalid_field("width", wanted.width, f"width x height of at most {limit} pixels together")

    def _handoff_fields(self, wanted: Generation, sampler: Any, cutoff: int | None) -> HandOffFields:
        size = (wanted.height, wanted.width)
        original, target = wanted.original_size or size, wanted.target_size or size
        return HandOffFields(
            **wanted.model_dump(include=AS_REQUESTED),
            mode="ensemble" if cutoff is not None else "sdedit",
            cutoff=cutoff,
            strength=wanted.strength if cutoff is None else None,
            original_size=original,
            target_size=target,
            negative_original_size=wanted.negative_original_size or original,
            negative_target_size=wanted.negative_target_size or target,
            guidance_scale=wanted.refiner_guidance_scale,
            sampler_digest=samplers.digest(sampler),
            base_digest=self.checkpoint.digest,
        )


def _any_conditioning(checkpoint: Checkpoint) -> Conditioning:
    """One row, to measure the model's speed by."""
    words = GenerationRequest(prompt="a picture", seed=0).with_defaults(checkpoint.defaults)
    return base_conditioning(checkpoint, words, (words.height, words.width), guidance_scale=1.0)


guard(BaseRunner, DOOR)
