"""What a stage's model can do on the hardware that is there: measured once, before the runner is ready."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sdxl.checkpoint import VAE_FACTOR, Checkpoint
from sdxl.config import Settings
from sdxl.latents import decode
from stepbatch.job import Conditioning
from stepbatch.policy import RowLimit
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
    side = min(checkpoint.pipeline.unet.config.sample_size, math.isqrt(settings.max_pixels) // VAE_FACTOR)
    latents = torch.zeros(1, 4, side, side, device=checkpoint.device, dtype=checkpoint.dtype)
    timestep = torch.tensor([500], device=checkpoint.device)

    def call(rows: int) -> float:
        return _arrived(unet(latents.repeat(rows, 1, 1, 1), timestep.repeat(rows), stacked([one] * rows)))

    given = settings.rows_of_all_ticks or settings.max_rows
    times = tick_times(call, (given,) if given else ROW_COUNTS)
    rows = given or worthwhile_rows(times)
    seconds_per_work = times[rows] / (rows * side * side)
    decode(checkpoint.pipeline, latents)
    begun = time.perf_counter()
    decode(checkpoint.pipeline, latents)
    decode_s = time.perf_counter() - begun
    table = ", ".join(f"{rows}: {1000 * seconds:.1f}" for rows, seconds in times.items())
    logger.info("ms of a tick by rows: %s; %d rows at most; decoding %.1f ms", table, rows, 1000 * decode_s)
    return Speed(
        limit=RowLimit(rows=rows, pixels=None if settings.fixed_rows else side * side),
        seconds_per_work=seconds_per_work,
        decode_work_per_pixel=decode_s / seconds_per_work / (side * side),
        longest_s=max(2 * seconds_per_work * side * side, decode_s) * settings.max_pixels / (side * VAE_FACTOR) ** 2,
    )


def _arrived(prediction: Tensor) -> float:
    """A number of it, for which the CPU has to wait until the GPU is done."""
    return prediction.flatten()[0].item()
