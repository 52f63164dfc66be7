"""Files that cannot be loaded: each has its reason, and costs no other file anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.sdxl.catalog.shelves import catalog, embedding, lora, put, tensors
from tests.sdxl.files.checkpoints import VAE, folder, more, original, spoiled, wider, without
from tests.sdxl.files.test_check import FILES, FIRST

ON_SHELVES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a LoRA in checkpoints": ("checkpoints", lora, "it is a LoRA, which SDXL_LORAS or a folder loras/ takes; a whole"),
    "an embedding in checkpoints": ("checkpoints", embedding, "it is a textual inversion, which a folder embeddings/"),
    "an embedding in loras": ("loras", embedding, "it is a textual inversion, which a folder embeddings/ takes; a"),
    "a LoRA in embeddings": ("embeddings", lora, "it is a LoRA, which SDXL_LORAS or a folder loras/ takes; a textual"),
    "an embedding of SD 1": (
        "embeddings",
        lambda path: tensors(path, {"emb_params": torch.zeros(2, 768)}),
        "it is a textual inversion of another model; a textual inversion of SDXL, with clip_g, is needed",
    ),
    "a LoRA in vae": ("vae", lora, "it is a LoRA, which SDXL_LORAS or a folder loras/ takes; a VAE with its encoder"),
    "a LoRA of SD 1": ("loras", lambda path: lora(path, width=768), "it is a LoRA of Stable Diffusion 1; one of SDXL"),
    "a LoRA of SD 2": ("loras", lambda path: lora(path, width=1024), "it is a LoRA of Stable Diffusion 2; one of SDXL"),
    "a LoHa of SD 1": (
        "loras",
        lambda path: tensors(path, {"lora_unet_a_attn2_to_v.hada_w1_b": torch.zeros(4, 768)}),
        "it is a LoRA of Stable Diffusion 1; one of SDXL",
    ),
    "diffusers' LoRA of SD 1": (
        "loras",
        lambda path: tensors(path, {"unet.a.attn2.processor.to_k_lora.down.weight": torch.zeros(4, 768)}),
        "it is a LoRA of Stable Diffusion 1; one of SDXL",
    ),
    "PEFT's LoRA of SD 1": (
        "loras",
        lambda path: tensors(path, {"base_model.model.a.attn2.to_k.lora_A.weight": torch.zeros(4, 768)}),
        "it is a LoRA of Stable Diffusion 1; one of SDXL",
    ),
    "a LoRA of Flux": (
        "loras",
        lambda path: tensors(path, {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.zeros(4, 8)}),
        "it is a LoRA of Flux, or of a model of its kind; one of SDXL is needed",
    ),
    "a LoRA of SD 3": (
        "loras",
        lambda path: tensors(path, {"transformer.a.0.attn.add_q_proj.lora_A.weight": torch.ones(4, 8)}),
        "it is a LoRA of Stable Diffusion 3",
    ),
    "a web page": ("checkpoints", lambda path: path.write_text("<html>"), "it is a web page, not weights"),
}  # fmt: skip


@pytest.mark.parametrize("name", ON_SHELVES)
def test_a_file_on_the_wrong_shelf(files: Path, models: Path, name: str) -> None:
    shelf, make, said = ON_SHELVES[name]
    put(files / "base.safetensors", models / "checkpoints" / "good.safetensors")
    (models / shelf).mkdir(exist_ok=True)
    make(models / shelf / "own.safetensors")
    found = catalog(models)
    assert list(found.models) == ["good"]
    assert not [*found.loras, *found.vaes, *found.embeddings]
    assert list(found.faults) == [f"{shelf}/own.safetensors"]
    assert found.faults[f"{shelf}/own.safetensors"].startswith(said)
    if shelf in ("checkpoints", "loras"):
        assert found.missing == {"own": found.faults[f"{shelf}/own.safetensors"]}


def test_a_checkpoint_in_loras(files: Path, models: Path) -> None:
    put(files / "base.safetensors", models / "loras" / "own.safetensors")
    said = "it is a checkpoint of SDXL, which SDXL_BASE, SDXL_REFINER or a folder checkpoints/ takes; a LoRA is needed"
    assert catalog(models).faults == {"loras/own.safetensors": said}


@pytest.mark.parametrize("name", FILES)
def test_checkpoints_of_other_models(files: Path, models: Path, name: str) -> None:
    change, said = FILES[name]
    (models / "checkpoints").mkdir()
    put(files / "refiner.safetensors", models / "checkpoints" / "good.safetensors")
    spoiled(files / "base.safetensors", models / "checkpoints" / "own.safetensors", change)
    found = catalog(models)
    assert list(found.models) == ["good"]
    assert said in found.faults["checkpoints/own.safetensors"]


def test_a_refiner_for_inpainting(files: Path, models: Path) -> None:
    (models / "checkpoints").mkdir()
    spoiled(files / "refiner.safetensors", models / "checkpoints" / "own.safetensors", wider(FIRST, 1, 5))
    assert "its UNet takes 9 channels, as for inpainting" in catalog(models).faults["checkpoints/own.safetensors"]


def test_a_model_that_predicts_v_is_one(files: Path, models: Path) -> None:
    (models / "checkpoints").mkdir()
    marks = more(v_pred=torch.zeros(0), ztsnr=torch.zeros(0))
    spoiled(files / "base.safetensors", models / "checkpoints" / "v.safetensors", marks)
    assert catalog(models).models["v"].kind == "base"


def test_other_formats(models: Path) -> None:
    for name in (
        "checkpoints/a.ckpt",
        "loras/b.pt",
        "embeddings/c.bin",
        "checkpoints/d.gguf",
        "vae/e.PTH",
        "vae/f.txt",
    ):
        (models / name).parent.mkdir(exist_ok=True)
        (models / name).write_bytes(b"\x80")
    pickled = "only .safetensors files are loaded: others may hold programs; convert it to safetensors"
    assert catalog(models).faults == {
        "checkpoints/a.ckpt": pickled,
        "checkpoints/d.gguf": "only .safetensors files are loaded: it is in GGUF format",
        "embeddings/c.bin": pickled,
        "loras/b.pt": pickled,
        "vae/e.PTH": pickled,
    }


def test_a_folder_that_is_no_checkpoint(models: Path) -> None:
    (models / "checkpoints").mkdir()
    (folder(models / "checkpoints" / "own") / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert catalog(models).faults == {"checkpoints/own": "unet has no .safetensors file; download it again"}


def test_two_of_one_name(files: Path, models: Path) -> None:
    put(files / "base.safetensors", models / "Stable-diffusion" / "own.safetensors")
    put(files / "base.safetensors", models / "checkpoints" / "own.safetensors")
    found = catalog(models)
    assert list(found.models) == ["own"]
    assert found.faults == {"checkpoints/own.safetensors": "Stable-diffusion/own.safetensors has the same name, own"}


def test_a_model_without_a_vae_can_have_one(models: Path) -> None:
    (models / "checkpoints").mkdir()
    whole = original("base", models / "whole.safetensors")
    spoiled(whole, models / "checkpoints" / "bare.safetensors", without(VAE))
    put(whole, models / "vae" / "own.safetensors")
    assert catalog(models).faults == {"checkpoints/bare.safetensors": "it has no vae; a whole checkpoint is needed"}
    (models / "catalog.yaml").write_text("models: {bare: {vae: own}}")
    assert catalog(models).models["bare"].vae == str(models / "vae" / "own.safetensors")
