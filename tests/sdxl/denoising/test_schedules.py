"""Align Your Steps for any number of steps, and LMS from anywhere."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import LMSDiscreteScheduler
from diffusers.schedulers import AysSchedules

from sdxl.denoising.sampler import img2img_steps, make_sampler
from sdxl.denoising.schedules import LMS, aligned_timesteps
from tests.sdxl.denoising.test_sampler import CONFIG


def test_10_steps_are_the_papers() -> None:
    assert aligned_timesteps(10) == AysSchedules["StableDiffusionXLTimesteps"]


def test_20_steps_have_the_papers_levels_and_their_geometric_means() -> None:
    """The authors interpolate the logarithms of the noise levels."""
    timesteps = aligned_timesteps(20)
    assert timesteps[::2] == AysSchedules["StableDiffusionXLTimesteps"]
    sigmas = ((1 - (kept := LMSDiscreteScheduler.from_config(CONFIG).alphas_cumprod)) / kept).sqrt()
    between = (sigmas[timesteps[0:18:2]] * sigmas[timesteps[2:20:2]]).sqrt()
    assert torch.allclose(sigmas[timesteps[1:19:2]], between, rtol=0.05)  # of whole timesteps


@pytest.mark.parametrize("steps", range(1, 151))
def test_timesteps_fall(steps: int) -> None:
    timesteps = aligned_timesteps(steps)
    assert len(timesteps) == steps
    assert timesteps[0] == 999
    assert timesteps[-1] >= 0
    assert all(after < before for before, after in pairwise(timesteps))


def test_lms_begins_midway_with_eulers_step() -> None:
    """Of a model whose every prediction is the same, steps of all orders lead to the same latents."""
    sampler = make_sampler("lms", {**CONFIG, "prediction_type": "epsilon"})
    timesteps = img2img_steps(sampler, 12, 0.5)
    latents, noise = torch.ones(1, 4, 8, 8), torch.full((1, 4, 8, 8), 0.5)
    for done, timestep in enumerate(timesteps, start=7):
        before = sampler.sigmas[done - 1]
        sampler.scale_model_input(latents, timestep)
        stepped = sampler.step(noise, timestep, latents, return_dict=False)[0]
        assert torch.allclose(stepped, latents + noise * (sampler.sigmas[done] - before), atol=1e-4)
        latents = stepped


def test_diffusers_lms_still_cannot() -> None:
    """If this fails, `LMS` is needed no more."""
    ours, own = LMS.from_config(CONFIG), LMSDiscreteScheduler.from_config(CONFIG)
    stepped = []
    for sampler in (ours, own):
        (timestep, *_) = img2img_steps(sampler, 12, 0.5)
        sampler.scale_model_input(torch.ones(1, 4, 8, 8), timestep)
        stepped.append(sampler.step(torch.ones(1, 4, 8, 8), timestep, torch.ones(1, 4, 8, 8), return_dict=False)[0])
    assert not torch.allclose(stepped[0], stepped[1], atol=0.01)
