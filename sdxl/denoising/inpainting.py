"""Inpainting with a model that knows no masks: what is kept is put back after every step, as noisy as the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from sdxl.models.facts import VAE_FACTOR
from sdxl.request.fields import MaskedContent


class InpaintingSampler:
    """A sampler, and after its every step what StableDiffusionXLInpaintPipeline does with a UNet of 4 channels."""

    def __init__(
        self, sampler: Any, timesteps: Tensor, original: Tensor, mask: Tensor, generator: torch.Generator
    ) -> None:
        """Draws its noise from `generator`.

        `original` is the picture's latents [1, 4, h, w], without noise where it is kept; `mask` [1, 1, h, w] is
        1 where it is repainted, else 0.
        """
        self._sampler, self._timesteps, self._original = sampler, timesteps, original
        self._mask = mask.to(device=original.device, dtype=original.dtype)
        self._noise = randn_tensor(original.shape, generator, original.device, original.dtype)
        self._steps_done = 0

    def first_latents(self, strength: float, masked_content: MaskedContent = "original") -> Tensor:
        """What the first step begins with [1, 4, h, w]: at strength 1, diffusers has nothing but noise there.

        Under that, the noise is added to the original; where it is repainted, to zeros or to the same noise once more
        if `masked_content` says so, as AUTOMATIC1111's "latent nothing" and "latent noise" are.
        """
        if strength == 1.0:
            pure: Tensor = self._noise * self._sampler.init_noise_sigma
            return pure
        latents = self._original
        if masked_content in ("noise", "nothing"):
            content = self._noise if masked_content == "noise" else torch.zeros_like(self._noise)
            latents = (1 - self._mask) * latents + self._mask * content
        return self._noisy(latents, 0)

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """As the sampler does it."""
        scaled: Tensor = self._sampler.scale_model_input(sample, timestep)
        return scaled

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: bool, **options: object
    ) -> tuple[Tensor, ...]:
        """The sampler's step; then the original, with the next timestep's noise, where it is kept."""
        stepped = self._sampler.step(model_output, timestep, sample, return_dict=return_dict, **options)[0]
        self._steps_done += 1
        is_last = self._steps_done == len(self._timesteps)
        kept = self._original if is_last else self._noisy(self._original, self._steps_done)
        return ((1 - self._mask) * kept + self._mask * stepped,)

    def _noisy(self, latents: Tensor, index: int) -> Tensor:
        noisy: Tensor = self._sampler.add_noise(latents, self._noise, self._timesteps[index : index + 1])
        return noisy


def latent_mask(mask: Image.Image) -> Tensor:
    """From a mask of mode L to [1, 1, height / 8, width / 8], uint8: 1 where it is brighter than mid-gray.

    As StableDiffusionXLInpaintPipeline does it, each latent pixel goes by the upper left one of its 8 x 8 pixels.
    """
    width, height = (side // VAE_FACTOR * VAE_FACTOR for side in mask.size)
    levels = np.asarray(mask.resize((width, height), Image.Resampling.LANCZOS))
    repainted = levels[::VAE_FACTOR, ::VAE_FACTOR] >= 128
    return torch.from_numpy(repainted.astype(np.uint8))[None, None]
