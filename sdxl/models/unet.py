"""The UNet as the engine calls it: as it is, with filled up rows, compiled, or as CUDA graphs."""

from __future__ import annotations

import logging
import math
import os
from typing import Any

import torch
import torch._dynamo
from torch import Tensor
from torch.nn.attention import sdpa_kernel

from sdxl.config.settings import Settings
from sdxl.models.attention import SHAPE, fastest_first, time_on_gpu
from sdxl.models.checkpoint import Checkpoint
from sdxl.models.chunks import CHUNK_TOKENS
from sdxl.models.facts import VAE_FACTOR
from sdxl.models.lora import LoadedLoras
from stepbatch.denoising import Conditioning
from stepbatch.graphs import GraphedUNet
from stepbatch.padding import PaddedUNet
from stepbatch.shapes import Size, UNetOfShapes
from stepbatch.tick import UNet
from stepbatch.warmup import ROW_COUNTS

logger = logging.getLogger("bentoml.sdxl_relay")

# What torch's own work on SDXL found to pay (pytorch.org/blog/accelerating-generative-ai-3).
INDUCTOR = {
    "conv_1x1_as_mm": True,
    "coordinate_descent_tuning": True,
    "coordinate_descent_check_all_directions": True,
    "epilogue_fusion": False,
}


def compiled_counts(settings: Settings) -> list[int]:
    """The row counts of compiled ticks: those that are measured at start, up to the most that is allowed."""
    if settings.fixed_rows is not None:
        return [settings.fixed_rows]
    most = settings.max_rows or ROW_COUNTS[-1]
    return sorted({most, *(count for count in ROW_COUNTS if count < most)})


def native_size(checkpoint: Checkpoint, settings: Settings) -> Size:
    """The latents (height, width) of the checkpoint's native picture, or of the largest square that is allowed."""
    side = min(checkpoint.pipeline.unet.config.sample_size, math.isqrt(settings.max_pixels) // VAE_FACTOR)
    return side, side


def compiled_sizes(checkpoint: Checkpoint, settings: Settings) -> list[Size]:
    """The latent sizes of compiled ticks."""
    asked = [(height // VAE_FACTOR, width // VAE_FACTOR) for width, height in settings.compile_sizes]
    return asked or [native_size(checkpoint, settings)]


def make_unet(checkpoint: Checkpoint, settings: Settings) -> UNet:
    """The checkpoint's UNet in the form that the settings ask for."""
    unet = _of_settings(checkpoint, settings)
    return _with_best_attention(unet, checkpoint.dtype) if _is_on_gpu(checkpoint) else unet


def _of_settings(checkpoint: Checkpoint, settings: Settings) -> UNet:
    plain = with_loras(unet_of(checkpoint.pipeline.unet), checkpoint.loras)
    fixed = settings.fixed_rows
    other = PaddedUNet(plain, (fixed,)) if fixed else plain
    if settings.compile == "off":
        return other
    counts, sizes = compiled_counts(settings), compiled_sizes(checkpoint, settings)
    fast = plain if settings.compile == "graphs" else _compiled(checkpoint, len(counts) * len(sizes), settings)
    if _is_on_gpu(checkpoint):
        fast = GraphedUNet(fast)
    return UNetOfShapes(with_loras(fast, checkpoint.loras), other, counts=counts, sizes=sizes, tokens=CHUNK_TOKENS)


def _is_on_gpu(checkpoint: Checkpoint) -> bool:
    return checkpoint.device.startswith("cuda")


def unet_of(model: Any) -> UNet:
    """diffusers' UNet2DConditionModel, or what stands in its place, as the engine calls it."""

    def call(latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        predicted: Tensor = model(
            latents,
            timesteps,
            encoder_hidden_states=conditioning.embeddings,
            added_cond_kwargs={"text_embeds": conditioning.pooled, "time_ids": conditioning.time_ids},
            return_dict=False,
        )[0]
        return predicted

    return call


def with_loras(unet: UNet, loras: LoadedLoras) -> UNet:
    """The UNet with what each row's LoRAs add to it. Without any, compiled code and graphs find it as they know it."""

    def call(latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        loras.for_rows(conditioning.adapters)  # type: ignore[arg-type]
        return unet(latents, timesteps, conditioning)

    return call


def _compiled(checkpoint: Checkpoint, shapes: int, settings: Settings) -> UNet:
    """UNet and the VAE's decoder by torch.compile, each shape by itself."""
    if settings.compile_cache is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(settings.compile_cache)
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, shapes + 1)
    options: dict[str, Any] = {**INDUCTOR, "max_autotune": settings.compile == "max"}
    checkpoint.pipeline.vae.decoder.compile(dynamic=False, options=options)
    return unet_of(torch.compile(checkpoint.pipeline.unet, dynamic=False, options=options))


def stop_compiling() -> None:
    """From now on, in all threads: what has not been compiled runs as it is."""
    torch.compiler.set_stance("eager_on_recompile")


def _with_best_attention(unet: UNet, dtype: torch.dtype) -> UNet:
    order = fastest_first(torch.randn(SHAPE, device="cuda", dtype=dtype), time_on_gpu)
    logger.info("attention by %s", ", ".join(backend.name for backend in order))

    def call(latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        with sdpa_kernel(order, set_priority=True):
            return unet(latents, timesteps, conditioning)

    return call
