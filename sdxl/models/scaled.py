"""Weights in 8-bit floats with a scale beside them, as ComfyUI stores them: `scaled fp8`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdxl.config.references import UnusableFile
from sdxl.files.header import Header

WEIGHT_SCALES = ("scale_weight", "weight_scale")  # older and newer names
# What is of use only where products are computed in 8 bits: how inputs were scaled, and what the format is called.
OF_COMPUTING = ("scale_input", "input_scale", "comfy_quant")


def beside(weight: str) -> set[str]:
    """The names of all that may stand beside a weight; none for other tensors."""
    layer, _, kind = weight.rpartition(".")
    return {f"{layer}.{name}" for name in (*WEIGHT_SCALES, *OF_COMPUTING)} if kind == "weight" else set()


def read_scaled(file: Any, header: Header, name: str) -> Tensor:
    """The tensor as it is in the file, or its true values in float32 if it has a scale.

    A scale is one number, or one for each row. Raises UnusableFile for others.
    """
    tensor: Tensor = file.get_tensor(name)
    scales = sorted(each for each in beside(name) & header.tensors.keys() if each.endswith(WEIGHT_SCALES))
    for each in scales:
        scale = file.get_tensor(each).to(torch.float32)
        if scale.numel() not in (1, tensor.shape[0]):
            raise UnusableFile(f"{each} has the shape {list(scale.shape)}; one scale, or one for each row, can be read")
        tensor = tensor.to(torch.float32) * scale.reshape(-1, *[1] * (tensor.ndim - 1))
    return tensor
