"""Many checkpoints made of the mini: each has a UNet of its own, and the other parts of all are the same files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from sdxl.config.settings import MINI
from tests.sdxl.models.lora_files import write_kohya

UNET = "unet/diffusion_pytorch_model.safetensors"
CHANGED = 0.003  # of each weight's own spread


def write_many(folder: Path, count: int, loras: int) -> None:
    """`checkpoints/m00` and so on, `loras/l0` and so on."""
    plain = load_file(MINI / "base" / UNET)
    for number in range(count):
        target = folder / "checkpoints" / name_of(number)
        shutil.copytree(MINI / "base", target, copy_function=os.link)
        generator = torch.Generator().manual_seed(number)
        (target / UNET).unlink()
        save_file({name: _changed(tensor, generator) for name, tensor in plain.items()}, target / UNET)
    (folder / "loras").mkdir()
    pipeline = StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)
    for number in range(loras):
        write_kohya(folder / "loras" / f"l{number}.safetensors", pipeline, ["unet"], seed=number, alpha=0.5)


def name_of(number: int) -> str:
    """Of a model."""
    return f"m{number:02}"


def _changed(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    if tensor.ndim < 2:
        return tensor
    noise = torch.randn(tensor.shape, generator=generator)
    return (tensor.float() + CHANGED * tensor.float().std() * noise).to(tensor.dtype)
