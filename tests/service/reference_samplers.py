"""The samplers of diffusers' pipelines, as a script over diffusers would make them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers.schedulers import AysSchedules

from sdxl.denoising.schedules import LMS
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.schedules import ScheduleName

OPTIONS: dict[ScheduleName, dict[str, Any]] = {
    "default": {},
    "karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "sgm_uniform": {"timestep_spacing": "trailing"},
    "normal": {"timestep_spacing": "linspace"},
    "align_your_steps": {},
}


def sampler_of(name: SamplerName, schedule: ScheduleName, config: Mapping[str, Any], *, is_midway: bool) -> Any:
    """For a pipeline over this configuration; `is_midway` if it does not begin with noise alone.

    diffusers' LMS cannot begin midway, see docs/explanation/parity.md.
    """
    kind = LMS if name == "lms" and is_midway else getattr(diffusers, SAMPLERS[name].diffusers_class)
    sampler = kind.from_config(config, **{**SAMPLERS[name].options, **OPTIONS[schedule]})
    if schedule == "align_your_steps":
        _align(sampler)
    return sampler


def _align(sampler: Any) -> None:
    """As `timesteps=` of the pipelines does it, whose img2img takes a wrong part of them with heun."""
    plain, timesteps = sampler.set_timesteps, AysSchedules["StableDiffusionXLTimesteps"]

    def set_timesteps(num_inference_steps: int, device: Any = None) -> None:
        assert num_inference_steps == len(timesteps)
        plain(timesteps=timesteps, device=device)

    sampler.set_timesteps = set_timesteps
