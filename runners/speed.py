"""What a stage's model can do on the hardware that is there: measured once, before the runner is ready."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from sdxl.config.settings import Settings
from sdxl.denoising.latents import decode
from sdxl.models.checkpoint import VAE_FACTOR, Checkpoint
from sdxl.models.unet import compiled_counts, compiled_sizes, native_size, stop_compiling
from stepbatch.denoising import Conditioning
from stepbatch.policy import RowLimit
from stepbatch.shapes import Size
from stepbatch.tick import UNet, stacked
from stepbatch.warmup import ROW_COUNTS, tick_times, worthwhile_rows

logger = logging.getLogger("bentoml.sdxl_relay")


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Work is counted in rows x latent pixels x steps."""

    limit: RowLimit
    seconds_per_work: float  # of a tick with as many rows as the limit has
    decode_work_per_pixel: float  # a decoded picture's work, for each latent pixel
    longest_s: float  # of a tick or decoding, for the largest picture that is allowed


@torch.inference_mode()
def measure(checkpoint: Checkpoint, unet: UNet, conditioning: Callable[[], Conditioning], settings: Settings) -> Speed:
    """Times UNet calls and a decoding at the checkpoint's native size, or at the largest that is allowed.

    `conditioning` is of one row.
    """
    one = conditioning()
    timestep = torch.tensor([500], device=checkpoint.device)

    def latents(rows: int, size: Size) -> Tensor:
        return torch.zeros(rows, 4, *size, device=checkpoint.device, dtype=checkpoint.dtype)

    def call(rows: int, size: Size) -> float:
        return _arrived(unet(latents(rows, size), timestep.repeat(rows), stacked([one] * rows)))

    if settings.compile != "off":
        _compile(checkpoint, settings, call, lambda size: decode(checkpoint.pipeline, latents(1, size)))
    size = native_size(checkpoint, settings)
    pixels = math.prod(size)
    given = settings.fixed_rows or settings.max_rows
    times = tick_times(lambda rows: call(rows, size), (given,) if given else ROW_COUNTS)
    rows = given or worthwhile_rows(times)
    seconds_per_work = times[rows] / (rows * pixels)
    decode_s = tick_times(lambda _: decode(checkpoint.pipeline, latents(1, size)), (1,))[1]
    table = ", ".join(f"{rows}: {1000 * seconds:.1f}" for rows, seconds in times.items())
    logger.info("ms of a tick by rows: %s; %d rows at most; decoding %.1f ms", table, rows, 1000 * decode_s)
    return Speed(
        limit=RowLimit(rows=rows, pixels=None if settings.fixed_rows else pixels),
        seconds_per_work=seconds_per_work,
        decode_work_per_pixel=decode_s / seconds_per_work / pixels,
        longest_s=max(2 * seconds_per_work * pixels, decode_s) * settings.max_pixels / (pixels * VAE_FACTOR**2),
    )


def _compile(
    checkpoint: Checkpoint, settings: Settings, call: Callable[[int, Size], object], decode: Callable[[Size], object]
) -> None:
    """Lets every shape come once that is to be compiled; others never will be."""
    begun = time.perf_counter()
    sizes = compiled_sizes(checkpoint, settings)
    torch.backends.cudnn.benchmark = True  # finds the best convolutions for the shapes that come; on only here
    for size, rows in product(sizes, compiled_counts(settings)):
        call(rows, size)
    for size in sizes:
        decode(size)
    torch.backends.cudnn.benchmark = False
    stop_compiling()
    logger.info("compiled in %.0f s", time.perf_counter() - begun)


def _arrived(prediction: Tensor) -> float:
    """A number of it, for which the CPU has to wait until the GPU is done."""
    return prediction.flatten()[0].item()
