"""What the settings name is looked at before anything is loaded: one line says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.files.check import check_files, stages_here
from tests.conftest import MINI
from tests.sdxl.files.checkpoints import (
    TEXT_1,
    TEXT_2,
    UNET,
    VAE,
    State,
    edit,
    folder,
    more,
    only,
    original,
    scaled,
    spoiled,
    wider,
    without,
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base.safetensors and refiner.safetensors."""
    path = tmp_path_factory.mktemp("original")
    original("base", path / "base.safetensors")
    original("refiner", path / "refiner.safetensors")
    return path


def checked(stage: StageName, path: Path | str, **settings: Any) -> None:
    given = {stage: str(path), f"{stage}_config": str(MINI / stage), **settings}
    check_files(Settings.model_validate(given), [stage])


def refusal(stage: StageName, path: Path | str, **settings: Any) -> str:
    with pytest.raises(ConfigurationError) as raised:
        checked(stage, path, **settings)
    assert "\n" not in str(raised.value)
    return str(raised.value)


FIRST, LAST = f"{UNET}input_blocks.0.0.weight", f"{UNET}out.2.weight"
SD_1: State = {
    "cond_stage_model.transformer.text_model.embeddings.position_embedding.weight": torch.zeros(77, 8),
    FIRST: torch.zeros(8, 4, 3, 3),
}
SD_2: State = {"cond_stage_model.model.positional_embedding": torch.zeros(77, 8), FIRST: torch.zeros(8, 4, 3, 3)}
FILES: dict[str, tuple[Callable[[State], State], str]] = {
    "SD 1": (lambda _: SD_1, "it is Stable Diffusion 1; a whole checkpoint of SDXL is needed"),
    "SD 2": (lambda _: SD_2, "it is Stable Diffusion 2"),
    "SD 3": (lambda _: {f"{UNET}joint_blocks.0.x_block.attn.qkv.weight": torch.zeros(3)}, "it is Stable Diffusion 3"),
    "Flux": (lambda _: {f"{UNET}double_blocks.0.img_attn.qkv.weight": torch.zeros(3)}, "it is Flux, or a model of"),
    "ControlNet": (lambda _: {"control_model.input_blocks.0.0.weight": torch.zeros(3)}, "it is a ControlNet"),
    "ControlNet-LLLite": (lambda _: {"lllite_unet_a.down.0.weight": torch.zeros(3)}, "it is a ControlNet"),
    "T5": (lambda _: {"encoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(3)}, "it is a text encoder alone"),
    "LoRA": (lambda _: {"lora_unet_a.lora_down.weight": torch.zeros(3)}, "it is a LoRA, which SDXL_LORAS or a folder"),
    "embedding": (lambda _: {"clip_g": torch.zeros(3), "clip_l": torch.zeros(3)}, "it is a textual inversion"),
    "something": (lambda _: {"a.b": torch.zeros(3)}, "it is something else, with a.b; a whole checkpoint"),
    "no text encoder 1": (without(TEXT_1), "it has no text_encoder; a whole checkpoint is needed"),
    "no text encoder 2": (without(TEXT_2), "it has no text_encoder_2; a whole"),
    "no text encoders": (without(TEXT_1, TEXT_2), "it has no text_encoder and no text_encoder_2; a whole"),
    "no VAE": (without(VAE), "it has no vae; a whole"),
    "only the encoder of a VAE": (without(f"{VAE}decoder."), "a VAE with its encoder and its decoder is needed"),
    "a VAE alone": (only(VAE), "it is a VAE, which SDXL_VAE or a folder vae/ takes"),
    "a UNet alone": (only(UNET), "it has no vae and no text_encoder and no text_encoder_2"),
    "a UNet alone, bare": (only(UNET, prefixed=False), "it is a UNet alone"),
    "inpainting": (wider(FIRST, 1, 5), "its UNet takes 9 channels, as for inpainting, and only those that take 4"),
    "instructions": (wider(FIRST, 1, 4), "its UNet takes 8 channels, as for changes by instruction"),
    "depth": (wider(FIRST, 1, 1), "its UNet takes 5 channels, and only those that take 4"),
    "output": (wider(LAST, 0, 4), "its UNet gives 8 channels"),
    "VAE of 16 channels": (wider(f"{VAE}decoder.conv_in.weight", 1, 12), "its VAE has 16 latent channels"),
    "8 bits": (
        lambda state: {**state, f"{UNET}time_embed.0.weight": torch.zeros(3, 3, dtype=torch.int8)},
        f"its weights are quantized: {UNET}time_embed.0.weight is I8",
    ),
    "EDM": (more(edm_mean=torch.zeros(4), edm_std=torch.ones(4)), "it has EDM's noise levels (edm_mean, edm_std)"),
    "EDM v": (more(edm_vpred__sigma_max=torch.tensor(120.0)), "it has EDM's noise levels (edm_vpred.sigma_max)"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_base(files: Path, tmp_path: Path, name: str) -> None:
    change, said = FILES[name]
    path = spoiled(files / "base.safetensors", tmp_path / "own.safetensors", change)
    assert refusal("base", path).startswith(f"SDXL_BASE={path}: ")
    assert said in refusal("base", path)


@pytest.mark.parametrize(("key", "value", "said"), [
    ("modelspec.prediction_type", "sample", "its metadata says that it predicts sample; allowed: epsilon, v"),
    ("modelspec.predict_key", "x0", "its metadata says that it predicts x0"),
    ("modelspec.noise_process", "flow", "its metadata says that its noise process is flow; allowed: ddpm"),
])  # fmt: skip
def test_metadata_of_what_no_sampler_does(files: Path, tmp_path: Path, key: str, value: str, said: str) -> None:
    path = spoiled(files / "base.safetensors", tmp_path / "own.safetensors", dict, **{key: value})
    assert said in refusal("base", path)


def test_the_base_takes_bases_and_the_refiner_either(files: Path, tmp_path: Path) -> None:
    for stage in ("base", "refiner"):
        checked(stage, files / f"{stage}.safetensors")
        checked(stage, MINI / stage)
    assert "it is SDXL's refiner, which SDXL_REFINER takes" in refusal("base", files / "refiner.safetensors")
    assert "it is SDXL's refiner, which SDXL_REFINER takes" in refusal("base", MINI / "refiner")
    checked("refiner", files / "base.safetensors", base_config=str(MINI / "base"))  # any checkpoint can refine
    checked("refiner", MINI / "base")
    no_vae = spoiled(files / "base.safetensors", tmp_path / "own.safetensors", without(VAE))
    checked("base", no_vae, vae=str(MINI / "base" / "vae"))
    checked("base", spoiled(files / "base.safetensors", tmp_path / "fp8.safetensors", scaled))


@pytest.mark.parametrize(
    ("setting", "name"), [("vae", "SDXL_VAE"), ("loras", "SDXL_LORAS"), ("distilled", "SDXL_DISTILLED")]
)
def test_every_setting_that_names_a_file(tmp_path: Path, setting: str, name: str) -> None:
    path = tmp_path / "own.safetensors"
    path.write_text("<html>")
    given = f"own={path}" if setting == "loras" else str(path)
    said = refusal("base", MINI / "base", **{"preset": "lcm", setting: given})
    assert said.startswith(f"{name}={given}: it is a web page")


def test_other_files_where_a_vae_or_a_lora_is_wanted(files: Path, tmp_path: Path) -> None:
    lora = tmp_path / "lora.safetensors"
    save_file({"lora_unet_a.lora_down.weight": torch.zeros(1, 1)}, lora)
    assert "it is a LoRA, which SDXL_LORAS or a folder loras/ takes; a VAE with its" in refusal(
        "base", MINI / "base", vae=str(lora)
    )
    whole = files / "base.safetensors"
    said = refusal("base", MINI / "base", loras=f"own={whole}")
    assert (
        "it is a checkpoint of SDXL, which SDXL_BASE, SDXL_REFINER or a folder checkpoints/ takes; a LoRA is needed"
        in said
    )
    checked("base", MINI / "base", vae=str(whole))  # of which the VAE is taken
    taesd = folder(tmp_path / "taesd") / "vae"
    edit(taesd / "config.json", _class_name="AutoencoderTiny")
    assert "config.json is of AutoencoderTiny" in refusal("base", MINI / "base", vae=str(taesd))


def test_what_is_not_here_yet_is_left_alone() -> None:
    checked("base", "somebody/model")
    checked("base", "model:v1")


def test_only_stages_of_this_host_are_looked_at() -> None:
    assert stages_here(Settings()) == ["base", "refiner"]
    assert stages_here(Settings.model_validate({"base_url": "http://a:1", "refiner": "a/b"})) == ["refiner"]
    assert stages_here(Settings.model_validate({"refiner_url": "http://a:1"})) == ["base"]
    assert stages_here(Settings.model_validate({"refiner": "none"})) == ["base"]
    with pytest.raises(ConfigurationError, match=r"^SDXL_REFINER=none: there is no refiner to serve"):
        check_files(Settings.model_validate({"refiner": "none"}), ["refiner"])
