"""Between pixels and latents: the VAE's part, as diffusers' pipelines do it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def decode(pipeline: Any, latents: Tensor) -> NDArray[np.uint8]:
    """Latents [1, 4, height/8, width/8] to a picture, uint8 [height, width, 3] (RGB).

    A half-precision VAE that asks for it (`force_upcast`) decodes in float32, for it would overflow.
    """
    vae = pipeline.vae
    upcast = vae.dtype == torch.float16 and vae.config.force_upcast
    if upcast:
        pipeline.upcast_vae()
        latents = latents.to(next(iter(vae.post_quant_conv.parameters())).dtype)
    picture = vae.decode(unscale(vae, latents), return_dict=False)[0]
    if upcast:
        vae.to(dtype=torch.float16)
    levels = pipeline.image_processor.postprocess(picture, output_type="np")[0]
    pixels: NDArray[np.uint8] = (levels * 255).round().astype(np.uint8)
    return pixels


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
        pipeline.unet.device,
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
