"""Where the models of a process run, and in which precision."""

from __future__ import annotations

import logging

import torch

from sdxl.config.settings import ConfigurationError, Settings

logger = logging.getLogger("bentoml.sdxl_relay")


def device_of(settings: Settings) -> str:
    """Raises ConfigurationError for a GPU that is not there."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if settings.device == "auto":
        return "cuda" if there else "cpu"
    if settings.device.startswith("cuda") and int(settings.device.partition(":")[2] or 0) >= there:
        why = "" if torch.version.cuda else f", and this PyTorch ({torch.__version__}) is built for CPUs alone"
        raise ConfigurationError(
            f"SDXL_DEVICE={settings.device}: PyTorch finds {there or 'no'} GPUs with CUDA here{why}; allowed: cpu, auto"
        )
    return settings.device


def dtype_of(settings: Settings, device: str) -> torch.dtype:
    """Of weights and latents."""
    name = settings.dtype
    if name == "auto":
        name = "float32" if device == "cpu" else "float16"
    if name == "float16" and device == "cpu":
        logger.warning("SDXL_DTYPE=float16 is many times slower than float32 on a CPU; auto or bfloat16 may be meant")
    dtype: torch.dtype = getattr(torch, name)
    return dtype
