"""How a job begins that does not begin with noise alone: with a picture, or with what another stage has left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor
from torch.nn import functional

from sdxl.denoising.inpainting import InpaintingSampler
from sdxl.denoising.latents import encode
from sdxl.models.facts import VAE_FACTOR
from sdxl.request.fields import MaskedContent
from stepbatch.denoising import Sampler


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """A picture, or latents, and what is to be done with them."""

    image: Image.Image | Tensor  # a picture, or latents [1, 4, h, w]
    sampler: Any  # with its timesteps set
    timesteps: Tensor  # [steps], from noisy to clean
    generator: torch.Generator
    strength: float | None  # how far to go back: noise is added accordingly; None: the latents are noisy already
    mask: Tensor | None = None  # [1, 1, h, w]: 1 where the picture is repainted, 0 where it is kept
    masked_content: MaskedContent = "original"  # "fill" is in the picture already
    enlarged_to: tuple[int, int] | None = None  # latents' (height, width), for a picture without a mask

    @property
    def size(self) -> tuple[int, int]:
        """The latents' (height, width)."""
        if self.enlarged_to is not None:
            return self.enlarged_to
        if isinstance(self.image, Tensor):
            return self.image.shape[-2], self.image.shape[-1]
        return self.image.height // VAE_FACTOR, self.image.width // VAE_FACTOR

    def begin(self, pipeline: Any) -> tuple[Tensor, Sampler]:
        """The first latents [1, 4, h, w], and the sampler that takes them further.

        `pipeline` is a StableDiffusionXLImg2ImgPipeline that has this sampler. The draws from the generator are
        those of diffusers' pipelines, in their order.
        """
        adds_noise = self.strength is not None
        if self.mask is None:
            image = self.image if self.enlarged_to is None else self._enlarged(pipeline, self.enlarged_to)
            return encode(pipeline, image, self.timesteps, self.generator, adds_noise=adds_noise), self.sampler
        original = encode(pipeline, self.image, self.timesteps, self.generator, adds_noise=False)
        sampler = InpaintingSampler(self.sampler, self.timesteps, original, self.mask, self.generator)
        if isinstance(self.image, Image.Image):
            # diffusers encodes the picture with the mask cut out, too, which only UNets of 9 channels are shown.
            randn_tensor(original.shape, self.generator, original.device, original.dtype)
        if self.strength is None:
            return original, sampler
        return sampler.first_latents(self.strength, self.masked_content), sampler

    def _enlarged(self, pipeline: Any, size: tuple[int, int]) -> Tensor:
        """The picture's latents [1, 4, h, w] of that size: bilinear, as AUTOMATIC1111's upscaler "Latent" has them."""
        latents = encode(pipeline, self.image, self.timesteps, self.generator, adds_noise=False)
        return functional.interpolate(latents, size, mode="bilinear")
