"""The real runners, with UNets that sleep: `bentoml serve benchmarks.sleeping:BaseRunner` (or RefinerRunner).

HTTP, frames, engine, text encoders, samplers and hand-offs are the real ones. A UNet's call takes SLEEP_MS, and
SLEEP_MS_PER_ROW more for each row, but no core, and a decoding takes nothing: two cores can bear many replicas.
"""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from runners.base import BaseRunner
from runners.refiner import RefinerRunner

__all__ = ["BaseRunner", "RefinerRunner"]
SECONDS = float(os.environ.get("SLEEP_MS", "0")) / 1000
SECONDS_PER_ROW = float(os.environ.get("SLEEP_MS_PER_ROW", "40")) / 1000


def _predict_nothing(_: Any, sample: Tensor, *__: Any, **___: Any) -> tuple[Tensor]:
    """UNet2DConditionModel.forward: from latents [n, 4, h, w] to as many zeros."""
    time.sleep(SECONDS + SECONDS_PER_ROW * len(sample))
    return (torch.zeros_like(sample),)


def _decode_to_grey(_: Any, z: Tensor, *__: Any, **___: Any) -> tuple[Tensor]:
    """AutoencoderKL.decode: from latents [1, 4, h, w] to a picture [1, 3, 8 h, 8 w]."""
    height, width = z.shape[-2:]
    return (torch.zeros(1, 3, 8 * height, 8 * width, dtype=z.dtype),)


# In diffusers' classes and not in the runners', so that the runners are the real ones throughout.
UNet2DConditionModel.forward = _predict_nothing
AutoencoderKL.decode = _decode_to_grey
