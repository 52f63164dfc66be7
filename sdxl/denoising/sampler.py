"""diffusers' noise samplers under the names of the API, and how both stages share out their timesteps."""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import diffusers
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from sdxl.denoising.schedules import LMS, aligned
from sdxl.errors import RelayError, invalid_field
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.schedules import SCHEDULES, ScheduleName

TRAINING_TIMESTEPS = 1_000
OF_PREDICTIONS = {"prediction_type", "clip_sample", "clip_sample_range", "sample_max_value", "thresholding",
                  "dynamic_thresholding_ratio"}  # fmt: skip


def diffusers_class(name: SamplerName) -> Any:
    """The class of diffusers' scheduler."""
    return getattr(diffusers, SAMPLERS[name].diffusers_class)


def make_sampler(name: SamplerName, config: Mapping[str, Any], schedule: ScheduleName = "default") -> Any:
    """A sampler of one's own for a job (it holds state), over the checkpoint's scheduler configuration."""
    return copy.deepcopy(_prototype(name, schedule, json.dumps(dict(config), sort_keys=True)))


@cache
def _prototype(name: SamplerName, schedule: ScheduleName, config: str) -> Any:
    """Never stepped, only copied: to make one takes a millisecond, and some log a warning each time."""
    kind = LMS if name == "lms" else diffusers_class(name)
    if schedule == "align_your_steps":
        kind = aligned(kind)
    known = inspect.signature(kind).parameters
    spread = {key: value for key, value in SCHEDULES[schedule].options.items() if key in known}
    return kind.from_config(json.loads(config), **{**spread, **SAMPLERS[name].options})


def decisive(sampler: SchedulerMixin) -> str:
    """What of a sampler's configuration decides its timesteps and their noise, as canonical JSON: stages must agree.

    How a stage's own UNet is understood does not: a base that predicts noise hands the same latents over as one that
    predicts velocity. Nor does what only another class knows, from which the configuration was made.
    """
    known = inspect.signature(type(sampler)).parameters
    values = {key: value for key, value in sampler.config.items() if key in known and key not in OF_PREDICTIONS}
    return json.dumps(values, sort_keys=True, default=str)


def digest(name: SamplerName, config: Mapping[str, Any], schedule: ScheduleName = "default") -> str:
    """SHA-256 over the sampler's class, its configuration and its schedule: equal digests give equal timesteps.

    Of a fresh one, for some change their configuration when their timesteps are set.
    """
    sampler = make_sampler(name, config, schedule)
    return hashlib.sha256(f"{type(sampler).__name__} {schedule} {decisive(sampler)}".encode()).hexdigest()


def cutoff_timestep(high_noise_frac: float) -> int:
    """The training timestep at which base stops and refiner starts (StableDiffusionXLPipeline, `denoising_end`)."""
    return round(TRAINING_TIMESTEPS - high_noise_frac * TRAINING_TIMESTEPS)


def set_steps(sampler: Any, num_inference_steps: int) -> Tensor:
    """Sets a fresh sampler's timesteps and gives them, from noisy to clean.

    They stay in the host's memory, like all tables of a sampler: its step looks numbers up in them, for which the
    host would otherwise have to wait for the GPU.

    Raises RelayError (400) where the sampler cannot do so many or so few steps.
    """
    try:
        sampler.set_timesteps(num_inference_steps, device="cpu")
    except (ValueError, IndexError, RuntimeError) as error:
        raise invalid_field(
            "num_inference_steps",
            num_inference_steps,
            f"what the sampler can do ({type(sampler).__name__}: {error})",
        ) from error
    if sampler.timesteps.dtype == torch.float64:  # a UNet reads them as float32
        sampler.timesteps = sampler.timesteps.float()
    timesteps: Tensor = sampler.timesteps
    return timesteps


def base_steps(sampler: Any, num_inference_steps: int, cutoff: int | None) -> Tensor:
    """The base's timesteps: all of them, or those at or above the cutoff (`denoising_end` of the base pipeline)."""
    timesteps = set_steps(sampler, num_inference_steps)
    if hasattr(sampler, "set_begin_index"):
        sampler.set_begin_index(0)
    if cutoff is None:
        return timesteps
    count = int((timesteps >= cutoff).sum())
    for share, stage in ((count, "base"), (len(timesteps) - count, "refiner")):
        if share == 0:
            raise _no_step(num_inference_steps, stage, cutoff)
    return timesteps[:count]


def edit_steps(timesteps: Tensor, num_inference_steps: int, cutoff: int | None) -> Tensor:
    """The base's timesteps of an edit: of its `img2img_steps`, those at or above the cutoff, which may be none."""
    if cutoff is None:
        return timesteps
    count = int((timesteps >= cutoff).sum())
    if count == len(timesteps):
        raise _no_step(num_inference_steps, "refiner", cutoff)
    return timesteps[:count]


def refiner_steps(sampler: Any, num_inference_steps: int, cutoff: int) -> Tensor:
    """The refiner's timesteps, those under the cutoff (StableDiffusionXLImg2ImgPipeline.get_timesteps).

    A sampler of second order takes its timesteps in pairs. Where the cutoff parts a pair, diffusers lets the
    refiner take the first half again, and so do we.
    """
    timesteps = set_steps(sampler, num_inference_steps)
    count = int((timesteps < cutoff).sum())
    if sampler.order == 2 and count % 2 == 0:
        count += 1
    return _from(sampler, len(timesteps) - count)


def img2img_steps(sampler: Any, num_inference_steps: int, strength: float) -> Tensor:
    """The last `strength` of the timesteps (StableDiffusionXLImg2ImgPipeline.get_timesteps)."""
    set_steps(sampler, num_inference_steps)
    count = min(int(num_inference_steps * strength), num_inference_steps)
    if count == 0:
        raise invalid_field(
            "strength",
            strength,
            f"at least {1 / num_inference_steps:.4g}, so that one of {num_inference_steps} steps is left",
        )
    return _from(sampler, (num_inference_steps - count) * sampler.order)


def _no_step(num_inference_steps: int, stage: str, cutoff: int) -> RelayError:
    return RelayError(
        400,
        "no_step",
        f"num_inference_steps: got {num_inference_steps}, of which none falls to the {stage}"
        f" at cutoff {cutoff}; allowed: more steps, another high_noise_frac, or refine=none",
        field="num_inference_steps",
        got=num_inference_steps,
    )


def _from(sampler: Any, first: int) -> Tensor:
    if hasattr(sampler, "set_begin_index"):
        sampler.set_begin_index(first)
    timesteps: Tensor = sampler.timesteps[first:]
    return timesteps
