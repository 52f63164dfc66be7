"""Folders in diffusers' format that are no whole checkpoint of SDXL's base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdxl.config.settings import ConfigurationError
from tests.sdxl.files.checkpoints import edit, folder, original
from tests.sdxl.files.test_check import checked, refusal


def unlink(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()


def as_pickle(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet/diffusion_pytorch_model.bin")


def index_of_more(folder: Path) -> None:
    (folder / "unet/diffusion_pytorch_model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "diffusion_pytorch_model.safetensors", "b": "other-00002.safetensors"}})
    )


SCHEDULER = "scheduler/scheduler_config.json"
FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no index": (lambda f: (f / "model_index.json").rename(f / "config.json"), "it has no model_index.json; the"),
    "no JSON of words": (
        lambda f: (f / "tokenizer/tokenizer.json").write_text("<"), "tokenizer/tokenizer.json is not JSON"
    ),
    "no JSON": (lambda f: (f / "model_index.json").write_text("{"), "model_index.json is not JSON: "),
    "no object": (lambda f: (f / "unet/config.json").write_text("[1]"), "unet/config.json holds no JSON object"),
    "no configuration": (lambda f: (f / "vae/config.json").unlink(), "it has no vae/config.json; the folder of a VAE"),
    "another pipeline": (
        lambda f: edit(f / "model_index.json", _class_name="FluxPipeline"),
        "its model_index.json is of FluxPipeline; StableDiffusionXLPipeline is needed",
    ),
    "no part": (lambda f: shutil.rmtree(f / "vae"), "it has no vae; a whole checkpoint is needed"),
    "no text encoder 1": (
        lambda f: edit(f / "model_index.json", text_encoder=[None, None], tokenizer=[None, None]),
        "it has no text_encoder; a whole checkpoint is needed",
    ),
    "no tokenizer": (lambda f: shutil.rmtree(f / "tokenizer_2"), "it has no tokenizer_2; a whole"),
    "no words": (lambda f: (f / "tokenizer/tokenizer.json").unlink(), "tokenizer has no tokenizer.json, and not both"),
    "no weights": (lambda f: unlink(f, "unet/*.safetensors"), "unet has no .safetensors file; download it again"),
    "pickled weights": (as_pickle, "unet has no .safetensors file but diffusion_pytorch_model.bin, which may hold"),
    "one file of two": (index_of_more, "unet has no other-00002.safetensors, which diffusion_pytorch_model."),
    "a pointer": (
        lambda f: (f / "vae/diffusion_pytorch_model.safetensors").write_text("version https://git-lfs.github.com/spec"),
        "vae/diffusion_pytorch_model.safetensors: it is a Git LFS pointer",
    ),
    "inpainting": (lambda f: edit(f / "unet/config.json", in_channels=9), "its UNet takes 9 channels, as for inpaint"),
    "SD 1's UNet": (lambda f: edit(f / "unet/config.json", addition_embed_type=None), "does not know the picture's"),
    "other words": (
        lambda f: edit(f / "text_encoder/config.json", hidden_size=96),
        "its UNet's cross_attention_dim is 192, and its text encoders give 224 as a base's",
    ),
    "quantized": (
        lambda f: edit(f / "unet/config.json", quantization_config={"quant_method": "bitsandbytes"}),
        "unet/config.json says that its weights are quantized; one with plain weights is needed",
    ),
    "another VAE": (lambda f: edit(f / "vae/config.json", _class_name="AutoencoderTiny"), "is of AutoencoderTiny"),
    "latents": (lambda f: edit(f / "vae/config.json", latent_channels=16), "its VAE has 16 latent channels"),
    "EDM": (
        lambda f: (f / SCHEDULER).write_text('{"_class_name": "EDMEulerScheduler", "sigma_max": 80.0}'),
        "its sampler is EDMEulerScheduler, and no sampler here has its noise levels",
    ),
    "flow": (
        lambda f: (f / SCHEDULER).write_text('{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}'),
        "its sampler is FlowMatchEulerDiscreteScheduler",
    ),
    "flow by another sampler": (
        lambda f: edit(f / SCHEDULER, prediction_type="flow_prediction", use_flow_sigmas=True),
        "its prediction_type is flow_prediction; allowed: epsilon, v_prediction",
    ),
    "sample": (lambda f: edit(f / SCHEDULER, prediction_type="sample"), "its prediction_type is sample"),
    "timesteps": (lambda f: edit(f / SCHEDULER, num_train_timesteps=500), "it was trained with 500 timesteps"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_is_no_base(tmp_path: Path, name: str) -> None:
    change, said = FOLDERS[name]
    path = folder(tmp_path / "own")
    change(path)
    assert said in refusal("base", path)
    weights_alone = {"no weights", "pickled weights", "one file of two", "a pointer"}
    if name not in weights_alone:  # of a configuration for one file, the weights do not count
        with pytest.raises(ConfigurationError, match=r"^SDXL_BASE_CONFIG="):
            checked("base", original("base", tmp_path / "own.safetensors"), base_config=str(path))


OWN: dict[str, tuple[str, str]] = {
    "relay.json": ('{"steps": 30}', "relay.json: steps: Extra inputs are not permitted"),
    "latent_rgb.json": ("{", "latent_rgb.json is not JSON"),
}


@pytest.mark.parametrize("name", OWN)
def test_files_for_this_server(tmp_path: Path, name: str) -> None:
    content, said = OWN[name]
    path = folder(tmp_path / "own")
    (path / name).write_text(content)
    assert said in refusal("base", path)
    file = original("base", tmp_path / "file.safetensors")
    (tmp_path / f"file.{name}").write_text(content)
    assert f"file.{said}" in refusal("base", file)


def test_a_folder_of_another_pipeline_of_sdxl(tmp_path: Path) -> None:
    """Its models are the same."""
    path = folder(tmp_path / "own")
    edit(path / "model_index.json", _class_name="StableDiffusionXLControlNetPipeline", controlnet=["diffusers", "X"])
    checked("base", path)
