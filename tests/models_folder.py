"""A folder as people have it, with six models made from the mini checkpoint, ten LoRAs and two textual inversions.

Two of the LoRAs are those that the mini has, trained for a style; the others are random.

`python -m tests.models_folder FOLDER` writes it. The models draw what the mini draws, but for the one that predicts
noise: it has random weights. Their pictures differ: three are changed a little everywhere, and one has a VAE that swaps
red and blue.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from sdxl.config.settings import MINI
from tests.sdxl.models.lora_files import write_diffusers, write_kohya
from tests.sdxl.models.original_layout import write_original

CHANGED = 0.01  # of each weight's own spread
ENVIRONMENT = {"SDXL_BASE_CONFIG": str(MINI / "base"), "SDXL_REFINER_CONFIG": str(MINI / "refiner")}
"""Where single files of the mini's size get their configuration from."""


def write_folder(folder: Path) -> None:
    """ComfyUI's layout, with a catalog.yaml."""
    checkpoints = folder / "checkpoints"
    (checkpoints / "changed").mkdir(parents=True)
    write_original(_mini(), checkpoints / "mini v.safetensors")
    for seed in (1, 2):
        write_original(changed(_mini(), seed), checkpoints / "changed" / f"no {seed} (v1.{seed}).safetensors")
    changed(_mini(), 3).save_pretrained(checkpoints / "changed" / "as a folder")
    shutil.copy(MINI / "base" / "relay.json", checkpoints / "changed" / "as a folder")
    write_original(_mini(), checkpoints / "swapped.safetensors")
    _epsilon(checkpoints / "noise.safetensors")
    _swapping_vae(folder / "vae" / "red and blue.safetensors")
    _loras(folder / "loras")
    _embeddings(folder / "embeddings")
    (folder / "catalog.yaml").write_text(CATALOG)


CATALOG = """
default: mini v
models:
  swapped:
    title: Red is blue
    vae: red and blue
  changed/as a folder:
    loras: [{name: style 1, scale: 0.5}]
"""


def changed(pipeline: Any, seed: int) -> Any:
    """A fine-tune, as far as a program can tell: each of the UNet's weights is a little another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in pipeline.unet.parameters():
            if weight.ndim > 1:
                noise = torch.randn(weight.shape, generator=generator)
                weight.add_((CHANGED * weight.float().std() * noise).to(weight.dtype))
    return pipeline


def _mini() -> Any:
    return StableDiffusionXLPipeline.from_pretrained(MINI / "base", dtype=torch.float16, add_watermarker=False)


def _epsilon(path: Path) -> None:
    pipeline = _mini()
    torch.manual_seed(0)
    unet: Any = UNet2DConditionModel.from_config(pipeline.unet.config)
    with torch.no_grad():  # a fresh UNet predicts little; a trained one predicts noise of unit variance
        unet.conv_out.weight *= 3
    pipeline.unet = unet.half()
    write_original(pipeline, path)
    save_file(load_file(path), path, metadata={"modelspec.prediction_type": "epsilon"})


def _swapping_vae(path: Path) -> None:
    path.parent.mkdir()
    state = {name: tensor.clone() for name, tensor in _mini().vae.state_dict().items()}
    swapped = [2, 1, 0]
    for name in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
        state[name] = state[name][swapped].contiguous()
    state["encoder.conv_in.weight"] = state["encoder.conv_in.weight"][:, swapped].contiguous()
    save_file(state, path)


def _loras(folder: Path) -> None:
    folder.mkdir()
    pipeline = _mini()
    for trained in (MINI / "loras").glob("*.safetensors"):
        shutil.copy(trained, folder)
    for seed in range(5):
        write_diffusers(folder / f"style {seed}.safetensors", pipeline, ["unet"], seed=seed)
    for seed in range(3):
        write_kohya(folder / f"kohya_{seed}.safetensors", pipeline, ["unet", "text_encoder"], seed=10 + seed, alpha=2)


def _embeddings(folder: Path) -> None:
    folder.mkdir()
    pipeline = _mini()
    for name, words in (("thing", "red cube"), ("other-thing", "blue sphere")):
        tensors = {}
        for key, part, tokenizer in (
            ("clip_l", "text_encoder", "tokenizer"),
            ("clip_g", "text_encoder_2", "tokenizer_2"),
        ):
            ids = getattr(pipeline, tokenizer)(words, add_special_tokens=False).input_ids
            tensors[key] = getattr(pipeline, part).get_input_embeddings().weight[ids].detach().clone()
        save_file(tensors, folder / f"{name}.safetensors")


if __name__ == "__main__":
    write_folder(Path(sys.argv[1]))
    print(*(f"{name}={value}" for name, value in {"SDXL_MODELS": sys.argv[1], **ENVIRONMENT}.items()))
