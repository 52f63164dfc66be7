"""A pipeline's models as ONNX files, which both backends read."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 18


@dataclass(frozen=True, eq=False)
class Input:
    """An input as it may come, and in which of its dimensions others differ."""

    example: Tensor
    dynamic: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What becomes one ONNX file: a module that takes and gives only tensors."""

    name: str
    module: nn.Module
    inputs: dict[str, Input]


@torch.inference_mode()
def export(part: Part, path: Path) -> None:
    """Writes the file; if the weights have more than 2 GB, they lie in files of their own beside it.

    It is traced, by torch's older exporter. The newer one's models are as fast, but take ten times as long to write,
    which is minutes for SDXL's full size. Branches are taken for good as the examples take them.
    """
    from sdxl.models.backends.parted import part_attention  # it imports onnx, which comes with a backend's requirements

    inputs = part.inputs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is the older one, and of the branches
        torch.onnx.export(
            part.module,
            tuple(given.example for given in inputs.values()),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            dynamic_axes={name: {axis: f"{name}_{axis}" for axis in given.dynamic} for name, given in inputs.items()},
        )
    part_attention(path)
