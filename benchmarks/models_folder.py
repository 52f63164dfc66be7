"""Many checkpoints made of the mini, as people have them: each is one file, with a UNet of its own.

The other parts of all are the same.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from sdxl.config.settings import MINI
from sdxl.files.kinds import UNET
from tests.sdxl.models.lora_files import write_kohya
from tests.sdxl.models.original_layout import write_original

CHANGED = 0.003  # of each weight's own spread
CONFIG = {"base_config": str(MINI / "base")}
"""The setting that such files need."""


def write_many(folder: Path, count: int, loras: int) -> None:
    """`checkpoints/m00.safetensors` and so on, `loras/l0.safetensors` and so on."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "loras").mkdir()
    pipeline = StableDiffusionXLPipeline.from_pretrained(MINI / "base", dtype=torch.float16, add_watermarker=False)
    first = folder / "checkpoints" / file_of(0)
    write_original(pipeline, first)
    plain = load_file(first)
    for number in range(1, count):
        generator = torch.Generator().manual_seed(number)
        state = {name: _changed(name, tensor, generator) for name, tensor in plain.items()}
        save_file(state, folder / "checkpoints" / file_of(number))
    for number in range(loras):
        write_kohya(folder / "loras" / f"l{number}.safetensors", pipeline, ["unet"], seed=number, alpha=0.5)


def name_of(number: int) -> str:
    """Of a model."""
    return f"m{number:02}"


def file_of(number: int) -> str:
    """Below checkpoints/."""
    return f"{name_of(number)}.safetensors"


def _changed(name: str, tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if tensor.ndim < 2 or not name.startswith(UNET):
        return tensor
    noise = torch.randn(tensor.shape, generator=generator)
    return (tensor.float() + CHANGED * tensor.float().std() * noise).to(tensor.dtype)
