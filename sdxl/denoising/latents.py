"""Between pixels and latents: the VAE's part, as diffusers' pipelines do it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stepbatch.denoising import is_finite


def decode(pipeline: Any, latents: Tensor) -> NDArray[np.uint8]:
    """Latents [1, 4, height/8, width/8] to a picture, uint8 [height, width, 3] (RGB).

    A half-precision VAE that asks for it (`force_upcast`) decodes in float32, for it would overflow. So does every
    other whose picture holds NaN.
    """
    vae = pipeline.vae
    upcast = vae.dtype == torch.float16 and vae.config.force_upcast
    picture = _decode_in(torch.float32 if upcast else vae.dtype, vae, latents)
    if picture.dtype != torch.float32 and not is_finite(picture):
        picture = _decode_in(torch.float32, vae, latents)
    levels = pipeline.image_processor.postprocess(picture, output_type="np")[0]
    pixels: NDArray[np.uint8] = (levels * 255).round().astype(np.uint8)
    return pixels


def _decode_in(dtype: torch.dtype, vae: Any, latents: Tensor) -> Tensor:
    own = vae.dtype
    vae.to(dtype=dtype)
    try:
        picture: Tensor = vae.decode(unscale(vae, latents.to(dtype)), return_dict=False)[0]
    finally:
        vae.to(dtype=own)
    return picture


def encode(
    pipeline: Any,
    picture: Image.Image | Tensor,
    timesteps: Tensor,
    generator: torch.Generator,
    *,
    adds_noise: bool,
) -> Tensor:
    """The latents [1, 4, height/8, width/8] that img2img begins with, by StableDiffusionXLImg2ImgPipeline.

    A picture is scaled down to multiples of 8 pixels and drawn from what the VAE gives; latents stay as they are. The
    noise is that of the first timestep.
    """
    latents: Tensor = pipeline.prepare_latents(
        pipeline.image_processor.preprocess(picture),
        timesteps[:1],
        1,
        1,
        pipeline.unet.dtype,
        pipeline._execution_device,  # where an offloaded model will be
        generator,
        adds_noise,
    )
    return latents


def unscale(vae: Any, latents: Tensor) -> Tensor:
    """From the UNet's latents, of unit variance, to the VAE's own (StableDiffusionXLPipeline's last lines)."""
    mean, std = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or std is None:
        return latents / vae.config.scaling_factor

    def as_channels(values: list[float]) -> Tensor:
        return torch.tensor(values, device=latents.device, dtype=latents.dtype).view(1, -1, 1, 1)

    return latents * as_channels(std) / vae.config.scaling_factor + as_channels(mean)
