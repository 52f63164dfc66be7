"""A job's state before its first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sdxl.denoising.guidance import GuidancePlan
from stepbatch.denoising import Conditioning, Denoising


def denoising(
    pipeline: Any,
    latents: Tensor,
    timesteps: Tensor,
    conditioning: Mapping[int, Conditioning],
    generator: torch.Generator,
    guidance: GuidancePlan,
) -> Denoising:
    """From latents [1, 4, h, w] on; `pipeline` has the job's own sampler.

    `conditioning` is by the index of the step from which on it counts, with 0.
    """
    return Denoising(
        latents=latents,
        sampler=pipeline.scheduler,
        timesteps=timesteps,
        conditioning=conditioning[0],
        changes=conditioning,
        guidance_scale=guidance.scale,
        guidance_rescale=guidance.rescale,
        guided_steps=guidance.steps,
        step_options=pipeline.prepare_extra_step_kwargs(generator, eta=0.0),
    )
