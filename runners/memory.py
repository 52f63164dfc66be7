"""Which size of picture fits into the memory that is there: measured once, before the runner is ready."""

from __future__ import annotations

import ctypes
import logging
import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from runners.probe import Probe
from sdxl.config.settings import Settings
from sdxl.files.memory import CGROUPS
from sdxl.models.facts import VAE_FACTOR
from sdxl.models.unet import native_size

LEAST = 48  # latent pixels of a side: what smaller pictures need is lost among what the allocator keeps
MODELS_SHARE = 1 / 3
SHARE = 0.4  # of the free memory for a stage's largest picture: the other stage may be at work on this machine, too
OWN = Path("/proc/self")

logger = logging.getLogger("bentoml.sdxl_relay")


def budget_bytes(settings: Settings, parts: Mapping[object, int], device: str) -> int:
    """What models may take together, the first of which has these `parts` and is there already.

    Without SDXL_RESIDENT_GB, a third of what is free may be taken by others, where there may be others.
    """
    first = sum(parts.values())
    if settings.resident_gb is not None:
        return max(first, int(settings.resident_gb * 1e9))
    if settings.models is None and settings.catalog is None:
        return first
    budget = first + int(MODELS_SHARE * free_bytes(device))
    logger.info("models may take %.1f GB together", budget / 1e9)
    return budget


def largest_picture_px(probe: Probe, rows: int, settings: Settings, reserved_bytes: int) -> int:
    """The most pixels of a picture that fits, by a tick of `rows` rows and a decoding; at most `max_pixels`.

    `reserved_bytes` of what is free are kept for other models.

    Both grow with the pixels. A tick's rows times pixels do not, except that a picture has two rows at least.
    """
    device = probe.checkpoint.device
    size = native_size(probe.checkpoint, settings)
    larger = (max(LEAST, size[0]), max(LEAST, size[1]))
    tick = peak_bytes(lambda: probe.tick(rows, size), device)
    decoding = peak_bytes(lambda: probe.decode(larger), device)
    if tick is None or decoding is None:
        return settings.max_pixels
    per_px = max(2 * tick / (rows * math.prod(size)), decoding / math.prod(larger)) / VAE_FACTOR**2
    free = max(0, free_bytes(device) - reserved_bytes)
    fitting = int(SHARE * free / per_px)
    logger.info(
        "memory of a picture: %.0f MB a megapixel; of %.1f GB free, %.1f megapixels fit",
        per_px,
        free / 1e9,
        fitting / 1e6,
    )
    return min(fitting, settings.max_pixels)


def peak_bytes(work: Callable[[], object], device: str) -> int | None:
    """By how much the memory in use grew at most; None where the system does not tell."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    give_back()  # otherwise, work would use again what is free in this process, and it would not be seen
    try:
        (OWN / "clear_refs").write_text("5")  # the peak is now what is in use
    except OSError:
        return None
    before = psutil.Process().memory_info().rss
    work()
    (peak_kb,) = re.findall(r"VmHWM:\s+(\d+) kB", (OWN / "status").read_text())
    return max(0, int(peak_kb) * 1024 - before)


def free_bytes(device: str) -> int:
    """What is free on the GPU, or on the machine and by the container's limit."""
    if device.startswith("cuda"):
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    free = psutil.virtual_memory().available
    for limit, used in CGROUPS:
        with suppress(OSError, ValueError):  # there is no such file, or no limit ("max")
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free


def give_back() -> None:
    """Returns to the system what the C library keeps of freed memory: glibc, hundreds of MB after a large picture."""
    with suppress(OSError, AttributeError):  # other C libraries have no such function
        ctypes.CDLL(None).malloc_trim(0)
