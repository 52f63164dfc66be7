"""What diffusers' own pipelines make of an edit: img2img or inpainting by the base, then by the refiner."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline
from PIL import Image

from sdxl.request.samplers import SamplerName
from sdxl.request.schedules import ScheduleName
from tests.kept import Pixels
from tests.service.reference import REFINER_ONLY, Reference, ending_guidance
from tests.service.reference_samplers import sampler_of


@dataclass
class EditReference:
    """The same models as a `Reference`'s, each in its img2img and its inpainting pipeline."""

    of: Reference

    @cached_property
    def base(self) -> list[Any]:
        return _editing(self.of.base, requires_aesthetics_score=False)

    @cached_property
    def refiner(self) -> list[Any]:
        return _editing(self.of.refiner, requires_aesthetics_score=True)

    def edit(self, picture: Image.Image, mask: Image.Image | None = None, **fields: Any) -> Pixels:
        """The fields are those of /edit; those that `_edit` has no default for are passed to both pipelines."""
        return self.of.kept("edit", partial(self._edit, picture, mask, **fields), picture=picture, mask=mask, **fields)

    def by_refiner_alone(self, picture: Image.Image, mask: Image.Image | None = None, **fields: Any) -> Pixels:
        """From the latents that the VAE draws; the refiner is given those, not the picture."""
        make = partial(self._by_refiner_alone, picture, mask, **fields)
        return self.of.kept("edit-by-refiner", make, picture=picture, mask=mask, **fields)

    def _edit(
        self,
        picture: Image.Image,
        mask: Image.Image | None = None,
        *,
        seed: int,
        strength: float,
        scheduler: SamplerName = "euler",
        schedule: ScheduleName = "default",
        refine: str = "ensemble",
        high_noise_frac: float = 0.8,
        refiner_guidance_scale: float | None = None,
        guidance_end: float | None = None,
        **fields: Any,
    ) -> Pixels:
        base, refiner = self._pipelines(mask, scheduler, schedule)
        masked: dict[str, Any] = {}
        if mask is not None:  # these pipelines take their UNet's native size if they are told none
            masked = {"mask_image": mask, "width": picture.width // 8 * 8, "height": picture.height // 8 * 8}
        for_both = {"generator": torch.Generator("cpu").manual_seed(seed), **masked}
        for_base = {name: value for name, value in fields.items() if name not in REFINER_ONLY}
        for_base |= {**for_both, "image": picture, "strength": strength}
        steps = fields.get("num_inference_steps", 50)
        for_base |= ending_guidance(base, steps, guidance_end, strength=strength)
        if refine == "none":
            return np.asarray(base(**for_base).images[0])
        latents = base(**for_base, denoising_end=high_noise_frac, output_type="latent").images
        for_refiner = {**fields, **for_both, "image": latents, "denoising_start": high_noise_frac}
        if refiner_guidance_scale is not None:
            for_refiner["guidance_scale"] = refiner_guidance_scale
        for_refiner |= ending_guidance(refiner, steps, guidance_end, high_noise_frac=high_noise_frac)
        return np.asarray(refiner(**for_refiner).images[0])

    def _by_refiner_alone(
        self, picture: Image.Image, mask: Image.Image | None = None, *, seed: int, scheduler: SamplerName, **fields: Any
    ) -> Pixels:
        _, refiner = self._pipelines(mask, scheduler, "default")
        generator = torch.Generator("cpu").manual_seed(seed)
        vae = refiner.vae
        with torch.no_grad():
            drawn = vae.encode(refiner.image_processor.preprocess(picture)).latent_dist.sample(generator)
        if mask is not None:
            fields |= {"mask_image": mask, "width": picture.width, "height": picture.height}
        latents = drawn * vae.config.scaling_factor
        return np.asarray(refiner(image=latents, generator=generator, **fields).images[0])

    def _pipelines(self, mask: Image.Image | None, scheduler: SamplerName, schedule: ScheduleName) -> tuple[Any, Any]:
        own_config = (self.of.base.own_scheduler_config, self.of.refiner.own_scheduler_config)
        chosen = [pipelines[mask is not None] for pipelines in (self.base, self.refiner)]
        for pipeline, config in zip(chosen, own_config, strict=True):
            pipeline.scheduler = sampler_of(scheduler, schedule, config, is_midway=True)
        return chosen[0], chosen[1]


def _editing(pipeline: Any, **config: bool) -> list[Any]:
    """The pipelines for img2img and for inpainting, over the models of another."""
    config["force_zeros_for_empty_prompt"] = pipeline.config.force_zeros_for_empty_prompt
    kinds = (StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline)
    made = [kind(**pipeline.components, **config, add_watermarker=False) for kind in kinds]
    for each in made:
        each.set_progress_bar_config(disable=True)
    return made
