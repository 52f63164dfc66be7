"""A job's state before its first step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdxl.denoising.guidance import GuidancePlan
from stepbatch.denoising import Conditioning, Denoising


def denoising(
    pipeline: Any,
    latents: Tensor,
    timesteps: Tensor,
    conditioning: Conditioning,
    generator: torch.Generator,
    guidance: GuidancePlan,
) -> Denoising:
    """From latents [1, 4, h, w] on; `pipeline` has the job's own sampler."""
    return Denoising(
        latents=latents,
        sampler=pipeline.scheduler,
        timesteps=timesteps,
        conditioning=conditioning,
        guidance_scale=guidance.scale,
        guidance_rescale=guidance.rescale,
        guided_steps=guidance.steps,
        step_options=pipeline.prepare_extra_step_kwargs(generator, eta=0.0),
    )
