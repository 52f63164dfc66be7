"""How much memory of the GPU both stages take together, by the settings that save it."""

from __future__ import annotations

import gc

import torch

from benchmarks.gpu_contenders import Relay, Work
from benchmarks.gpu_models import make_pipelines
from sdxl.config.settings import Settings

FORMS: dict[str, dict[str, str]] = {
    "as they are": {},
    "VAE in tiles": {"SDXL_VAE_TILING": "true"},
    "int8": {"SDXL_QUANTIZE": "int8"},
    "model offload": {"SDXL_OFFLOAD": "model"},
    "model offload, int8": {"SDXL_OFFLOAD": "model", "SDXL_QUANTIZE": "int8"},
    "sequential offload": {"SDXL_OFFLOAD": "sequential"},
}


def peak_gb(variables: dict[str, str], dtype: torch.dtype, device: str, side_px: int, *, small: bool) -> float:
    """Of one picture through both stages with guidance, alone, in 2**30 bytes; 0 without a GPU."""
    settings = Settings.from_environment({**variables, "SDXL_MAX_ROWS": "2"})
    # Made on the device, for that is fast, and moved: weights that are offloaded must begin on the host.
    pipelines = make_pipelines(dtype, device, small=small)
    for pipeline in pipelines.values():
        pipeline.to("cpu")
    _forget(device)
    with Relay(pipelines, settings, device) as relay:
        relay.pictures(Work(side_px=side_px, steps=4, guidance=5.0, base_share=0.5), [0])
    peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
    del relay, pipelines
    _forget(device)
    return peak


def _forget(device: str) -> None:
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
