"""The mini checkpoint in the forms that people have checkpoints in, right and wrong ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from sdxl.config.settings import StageName
from sdxl.models.weights import PIPELINES
from tests.conftest import MINI
from tests.sdxl.models.original_layout import write_original

State = dict[str, Tensor]
UNET, VAE = "model.diffusion_model.", "first_stage_model."
TEXT_1, TEXT_2 = "conditioner.embedders.0.", "conditioner.embedders.1."


def original(stage: StageName, path: Path) -> Path:
    """The mini checkpoint as one file."""
    write_original(PIPELINES[stage].from_pretrained(MINI / stage, dtype=torch.float32, add_watermarker=False), path)
    return path


def spoiled(source: Path, path: Path, change: Callable[[State], State], **metadata: str) -> Path:
    """One file made from another."""
    state = {name: tensor.contiguous().clone() for name, tensor in change(load_file(source)).items()}
    save_file(state, path, metadata=metadata or None)
    return path


def without(*starts: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if not name.startswith(starts)}


def only(start: str, *, prefixed: bool = True) -> Callable[[State], State]:
    cut = "" if prefixed else start
    return lambda state: {name.removeprefix(cut): tensor for name, tensor in state.items() if name.startswith(start)}


def more(**tensors: Tensor) -> Callable[[State], State]:
    return lambda state: {**state, **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}


def wider(name: str, axis: int, by: int) -> Callable[[State], State]:
    def change(state: State) -> State:
        shape = list(state[name].shape)
        shape[axis] = by
        return {**state, name: torch.cat([state[name], torch.zeros(shape)], axis)}

    return change


def scaled(state: State, weight_scale: str = "scale_weight", *, by_row: bool = False) -> State:
    """ComfyUI's scaled fp8 of the UNet's matrices, with the scales of inputs beside them."""
    found: State = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for name, tensor in state.items():
        if name.startswith(UNET) and name.endswith(".weight") and tensor.ndim == 2:
            largest = tensor.abs().amax(1, keepdim=True) if by_row else tensor.abs().max()
            layer = name.removesuffix("weight")
            found[name] = (tensor / (largest / 448)).to(torch.float8_e4m3fn)
            found[layer + weight_scale] = largest / 448
            found[layer + "scale_input"] = torch.tensor(0.5)
        else:
            found[name] = tensor.half()
    return found


def folder(path: Path, stage: StageName = "base") -> Path:
    """A copy of the mini checkpoint's folder."""
    shutil.copytree(MINI / stage, path)
    return path


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
