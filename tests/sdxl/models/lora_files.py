"""Random LoRA files for tests, in the layouts in which LoRAs come; the same seed gives the same change to a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from sdxl.models.lora import LoadedLoras
from tests.sdxl.models.original_layout import unet_name

RANK = 4
KOHYA_PREFIX = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
ATTENTION = r"to_[qkv]$|to_out\.0$|[qkv]_proj$|out_proj$"
STRENGTH = 0.1

Named = tuple[str, str, Tensor, Tensor]  # part, module, down [rank, in, …], up [out, rank, …]


def write_diffusers(path: Path, pipeline: Any, parts: Sequence[str], *, seed: int, modules: str = ATTENTION) -> Path:
    """As diffusers' `save_lora_weights` writes it, of the modules of these parts that match. Alpha is the rank."""
    tensors = {}
    for part, module, down, up in random_layers(pipeline, parts, seed, modules):
        tensors[f"{part}.{module}.lora_A.weight"] = down
        tensors[f"{part}.{module}.lora_B.weight"] = up
    return _saved(path, tensors)


def write_kohya(
    path: Path, pipeline: Any, parts: Sequence[str], *, seed: int, modules: str = ATTENTION, alpha: float = RANK
) -> Path:
    """As kohya's scripts write it, with diffusers' names for the UNet's blocks."""
    return _write_kohya(path, random_layers(pipeline, parts, seed, modules), alpha, _text_model)


def write_sgm(path: Path, pipeline: Any, *, seed: int, modules: str = "", alpha: float = RANK) -> Path:
    """As the model card's offset example is: over the UNet alone, its blocks by their names in the original layout."""
    resnets = pipeline.unet.config.layers_per_block

    def name(_: str, module: str) -> str:
        return unet_name(f"{module}.weight", resnets).removesuffix(".weight")

    return _write_kohya(path, random_layers(pipeline, ["unet"], seed, modules), alpha, name)


def _write_kohya(path: Path, layers: Iterator[Named], alpha: float, rename: Callable[[str, str], str]) -> Path:
    tensors = {}
    for part, module, down, up in layers:
        name = KOHYA_PREFIX[part] + rename(part, module).replace(".", "_")
        tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = down, up
        tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return _saved(path, tensors)


def _text_model(part: str, module: str) -> str:
    """Of text encoder 1, transformers 5 has left the `text_model` out that trainers' files have."""
    return module if part == "unet" or module.startswith("text_model.") else f"text_model.{module}"


def random_layers(pipeline: Any, parts: Iterable[str], seed: int, modules: str = ATTENTION) -> Iterator[Named]:
    """A change of each layer of these parts whose name matches."""
    generator = torch.Generator().manual_seed(seed)
    for part in parts:
        for name, module in getattr(pipeline, part).named_modules():
            if not re.search(modules, name):
                continue
            if isinstance(module, nn.Linear):
                down, up = (RANK, module.in_features), (module.out_features, RANK)
            elif isinstance(module, nn.Conv2d):
                down = (RANK, module.in_channels, *module.kernel_size)  # type: ignore[assignment]
                up = (module.out_channels, RANK, 1, 1)  # type: ignore[assignment]
            else:
                continue
            yield (
                part,
                name,
                STRENGTH * torch.randn(down, generator=generator),
                STRENGTH * torch.randn(up, generator=generator),
            )


def _saved(path: Path, tensors: dict[str, Tensor]) -> Path:
    save_file(tensors, path)
    return path


def loaded(pipeline: Any, files: Mapping[str, Path], *, row_by_row: bool = False) -> LoadedLoras:
    """Those files, under their names."""
    loras = LoadedLoras(pipeline, row_by_row=row_by_row)
    for name, path in files.items():
        loras.add(name, loras.read(path))
    return loras
