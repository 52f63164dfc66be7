"""What a stage's model can do on the hardware that is there: measured once, before the runner is ready."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import torch

from runners.probe import Probe
from sdxl.config.settings import Settings
from sdxl.models.facts import VAE_FACTOR
from sdxl.models.unet import compiled_counts, compiled_sizes, native_size, stop_compiling
from stepbatch.policy import RowLimit
from stepbatch.warmup import ROW_COUNTS, RowsAgain, tick_times, worthwhile_rows

logger = logging.getLogger("bentoml.sdxl_relay")


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Work is counted in rows x latent pixels x steps."""

    limit: RowLimit
    tick_s: Mapping[int, float]  # by rows, at the checkpoint's native size
    seconds_per_work: float  # of a tick with as many rows as the limit has
    decode_work_per_pixel: float  # a decoded picture's work, for each latent pixel
    longest_s: float  # of a tick or decoding, for the largest picture that is allowed


def measure(probe: Probe, settings: Settings) -> Speed:
    """Times UNet calls and a decoding at the checkpoint's native size, or at the largest that is allowed."""
    if settings.compile != "off":
        _compile(probe, settings)
    size = native_size(probe.checkpoint, settings)
    pixels = math.prod(size)
    given = settings.fixed_rows or settings.max_rows
    times = tick_times(lambda rows: probe.tick(rows, size), (given,) if given else ROW_COUNTS)
    rows = given or worthwhile_rows(times)
    seconds_per_work = times[rows] / (rows * pixels)
    decode_s = tick_times(lambda _: probe.decode(size), (1,))[1]
    logger.info("%s; %d rows at most; decoding %.1f ms", _table(times), rows, 1000 * decode_s)
    return Speed(
        limit=RowLimit(rows=rows, pixels=None if settings.fixed_rows else pixels),
        tick_s=times,
        seconds_per_work=seconds_per_work,
        decode_work_per_pixel=decode_s / seconds_per_work / pixels,
        longest_s=max(2 * seconds_per_work * pixels, decode_s) * settings.max_pixels / (pixels * VAE_FACTOR**2),
    )


def measuring_again(
    probe: Probe, speed: Speed, settings: Settings, tell: Callable[[int], object]
) -> Callable[[], bool]:
    """What an engine does when it is idle: it corrects `speed.limit`. `tell` gets the rows, now and then."""
    tell(speed.limit.rows)
    if settings.fixed_rows or settings.max_rows:
        return lambda: False
    size = native_size(probe.checkpoint, settings)

    def change(times: Mapping[int, float]) -> None:
        rows = worthwhile_rows(times)
        if rows != speed.limit.rows:
            logger.info("measured again: %s; %d rows at most instead of %d", _table(times), rows, speed.limit.rows)
        speed.limit.rows = rows
        tell(rows)

    return RowsAgain(lambda rows: probe.tick(rows, size), speed.tick_s, change)


def _table(times: Mapping[int, float]) -> str:
    return "ms of a tick by rows: " + ", ".join(f"{rows}: {1000 * seconds:.1f}" for rows, seconds in times.items())


def _compile(probe: Probe, settings: Settings) -> None:
    """Lets every shape come once that is to be compiled; others never will be."""
    begun = time.perf_counter()
    sizes = compiled_sizes(probe.checkpoint, settings)
    torch.backends.cudnn.benchmark = True  # finds the best convolutions for the shapes that come; on only here
    for size, rows in product(sizes, compiled_counts(settings)):
        probe.tick(rows, size)
    for size in sizes:
        probe.decode(size)
    torch.backends.cudnn.benchmark = False
    stop_compiling()
    logger.info("compiled in %.0f s", time.perf_counter() - begun)
