"""What diffusers' samplers lack: Align Your Steps for any number of steps, and an LMS that can begin midway."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from diffusers import DDPMScheduler, LMSDiscreteScheduler
from diffusers.schedulers import AysSchedules


def aligned_timesteps(num_inference_steps: int) -> list[int]:
    """Align Your Steps' timesteps for SDXL, decreasing; with 10 steps, those of the paper (arXiv 2404.14507).

    For other numbers, its noise levels are interpolated log-linearly, as its authors do.
    """
    sigmas = _sdxl_sigmas()
    levels = np.log([*AysSchedules["StableDiffusionXLSigmas"][:-1], sigmas[0]])
    at = np.linspace(0, len(levels) - 1, num_inference_steps + 1)[:-1]
    wanted = np.interp(at, np.arange(len(levels)), levels)
    timesteps = np.interp(wanted, np.log(sigmas), np.arange(len(sigmas))).round().astype(int)
    for index in reversed(range(num_inference_steps - 1)):  # many steps are closer than timesteps at the end
        timesteps[index] = max(timesteps[index], timesteps[index + 1] + 1)
    return [int(timestep) for timestep in timesteps]


@cache
def _sdxl_sigmas() -> Any:
    """The noise levels [1000] that SDXL was trained with, rising."""
    kept = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012).alphas_cumprod.numpy()
    return ((1 - kept) / kept) ** 0.5


@cache
def aligned(kind: Any) -> Any:
    """A class of diffusers' whose timesteps are those of Align Your Steps."""

    def set_timesteps(self: Any, num_inference_steps: int, device: str | None = None, *others: int) -> None:
        if others:  # Heun's constructor calls it, for all timesteps of the training
            kind.set_timesteps(self, num_inference_steps, device, *others)
        else:
            kind.set_timesteps(self, timesteps=aligned_timesteps(num_inference_steps), device=device)

    return type(kind.__name__, (kind,), {"set_timesteps": set_timesteps})


class LMS(LMSDiscreteScheduler):  # type: ignore[misc]
    """diffusers' own takes the coefficients of its full order midway, where it has no earlier derivatives yet.

    k-diffusion counts from the first step that is done, and so does this.
    """

    def step(self, model_output: Any, timestep: Any, sample: Any, order: int = 4, return_dict: bool = True) -> Any:
        """See diffusers; of an order up to what is there."""
        return super().step(model_output, timestep, sample, min(order, len(self.derivatives) + 1), return_dict)
