"""What the SDXL model cards' own code gives: diffusers' pipelines, one shared CPU generator, float32."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from diffusers.callbacks import SDXLCFGCutoffCallback
from numpy.typing import NDArray
from PIL import Image

from sdxl.request.samplers import SamplerName
from sdxl.request.schedules import ScheduleName
from tests.kept import Pixels, kept
from tests.service.reference_samplers import sampler_of

REFINER_ONLY = ("aesthetic_score", "negative_aesthetic_score")


@dataclass
class Reference:
    """A pair of diffusers pipelines, used as the model cards use them; loaded when a picture is not kept already."""

    checkpoints: Path
    kept_as: str | None = None
    """The name under which its pictures are kept, or none; the pipelines are then nobody's to change."""

    @cached_property
    def base(self) -> Any:
        return self._loaded(StableDiffusionXLPipeline, "base")

    @cached_property
    def refiner(self) -> Any:
        return self._loaded(StableDiffusionXLImg2ImgPipeline, "refiner")

    def _loaded(self, kind: Any, stage: str) -> Any:
        pipeline = kind.from_pretrained(self.checkpoints / stage, add_watermarker=False)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.own_scheduler_config = dict(pipeline.scheduler.config)
        return pipeline

    def kept(self, what: str, make: Callable[[], Pixels], **asked: Any) -> Pixels:
        return make() if self.kept_as is None else kept(self.kept_as, self.checkpoints, what, make, **asked)

    def generate(self, **fields: Any) -> Pixels:
        """The fields are those of /generate; those that `_generate` has no default for are passed to both pipelines."""
        return self.kept("generate", lambda: self._generate(**fields), **fields)

    def refined(self, picture: Image.Image, **fields: Any) -> Pixels:
        """As /refine."""
        return self.kept("refine", lambda: self._refined(picture, **fields), picture=picture, **fields)

    def _generate(
        self,
        *,
        seed: int,
        scheduler: SamplerName = "euler",
        schedule: ScheduleName = "default",
        refine: str = "ensemble",
        high_noise_frac: float = 0.8,
        strength: float = 0.3,
        refiner_guidance_scale: float | None = None,
        guidance_end: float | None = None,
        **fields: Any,
    ) -> NDArray[np.uint8]:
        self._set_sampler(scheduler, schedule)
        generator = torch.Generator("cpu").manual_seed(seed)
        for_base = {name: value for name, value in fields.items() if name not in REFINER_ONLY}
        for_refiner = {name: value for name, value in fields.items() if name not in ("width", "height")}
        if refiner_guidance_scale is not None:
            for_refiner["guidance_scale"] = refiner_guidance_scale
        steps = fields.get("num_inference_steps", 50)
        part: dict[str, Any] = {"high_noise_frac": high_noise_frac} if refine == "ensemble" else {"strength": strength}
        for_base |= ending_guidance(self.base, steps, guidance_end)
        for_refiner |= ending_guidance(self.refiner, steps, guidance_end, **part)
        if refine == "none":
            return np.asarray(self.base(generator=generator, **for_base).images[0])
        if refine == "ensemble":
            latents = self.base(generator=generator, denoising_end=high_noise_frac, output_type="latent", **for_base)
            part = {"denoising_start": high_noise_frac}
        else:
            latents = self.base(generator=generator, output_type="latent", **for_base)
            part = {"strength": strength}
        return np.asarray(self.refiner(image=latents.images, generator=generator, **part, **for_refiner).images[0])

    def _refined(
        self,
        picture: Image.Image,
        *,
        seed: int,
        scheduler: SamplerName = "euler",
        schedule: ScheduleName = "default",
        guidance_end: float | None = None,
        **fields: Any,
    ) -> NDArray[np.uint8]:
        self._set_sampler(scheduler, schedule)
        fields |= ending_guidance(
            self.refiner, fields["num_inference_steps"], guidance_end, strength=fields["strength"]
        )
        generator = torch.Generator("cpu").manual_seed(seed)
        return np.asarray(self.refiner(image=picture, generator=generator, **fields).images[0])

    def _set_sampler(self, name: SamplerName, schedule: ScheduleName) -> None:
        for pipeline in (self.base, self.refiner):
            is_midway = pipeline is self.refiner
            pipeline.scheduler = sampler_of(name, schedule, pipeline.own_scheduler_config, is_midway=is_midway)


class InpaintingCutoff(SDXLCFGCutoffCallback):  # type: ignore[misc]
    """diffusers' own forgets the inpainting pipeline's mask, which has a row for the negative prompt too."""

    tensor_inputs = (*SDXLCFGCutoffCallback.tensor_inputs, "mask")

    def callback_fn(self, pipeline: Any, step_index: int, timestep: Any, callback_kwargs: dict[str, Any]) -> Any:
        kwargs = super().callback_fn(pipeline, step_index, timestep, callback_kwargs)
        return {**kwargs, "mask": kwargs["mask"][-1:]} if pipeline._guidance_scale == 0.0 else kwargs


def ending_guidance(
    pipeline: Any,
    steps: int,
    guidance_end: float | None,
    *,
    strength: float = 1.0,
    high_noise_frac: float | None = None,
) -> dict[str, Any]:
    """Options with which a call of the pipeline ends its guidance, by diffusers' own callback.

    The call is one with this strength, or (a refiner's) from this noise level on. Before the first step, only a
    scale of 0 ends it.
    """
    if guidance_end is None:
        return {}
    sampler = copy.deepcopy(pipeline.scheduler)
    sampler.set_timesteps(steps)
    before = (steps - int(steps * strength)) * sampler.order
    if high_noise_frac is not None:
        before = int((sampler.timesteps >= round(1000 - 1000 * high_noise_frac)).sum())
        before -= before % sampler.order  # diffusers' refiner takes the first half of a pair again
    guided = round(guidance_end * len(sampler.timesteps))
    guided += guided % sampler.order - before
    if guided <= 0:
        return {"guidance_scale": 0.0}
    cutoff = InpaintingCutoff if isinstance(pipeline, StableDiffusionXLInpaintPipeline) else SDXLCFGCutoffCallback
    return {"callback_on_step_end": cutoff(cutoff_step_ratio=None, cutoff_step_index=guided - 1)}


def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    """The largest difference of any two levels, 0 to 255."""
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other.astype(int)).max())
