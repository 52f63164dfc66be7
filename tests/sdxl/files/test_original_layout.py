"""The original layout's names are those that diffusers' converters read: of SDXL in its full size, and small."""

from __future__ import annotations

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)

from benchmarks.full_size import models
from sdxl.files.original_layout import open_clip_names, unet_names, vae_names


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("stage", ["base", "refiner"])
def test_of_unets(stage: str, small: bool) -> None:
    unet = models(stage, small=small)["unet"]
    original = unet_names(unet.state_dict().keys(), unet.config.layers_per_block)
    prefixed = {f"model.diffusion_model.{name}": name for name in original.values()}
    assert convert_ldm_unet_checkpoint(prefixed, dict(unet.config)) == original


@pytest.mark.parametrize("small", [False, True])
def test_of_the_vae(small: bool) -> None:
    vae = models("base", small=small)["vae"]
    shapes = {name: tensor.shape for name, tensor in vae.state_dict().items()}
    original = vae_names(shapes.keys(), len(vae.config.block_out_channels))
    marked = {name: torch.full((1,), index) for index, name in enumerate(original.values())}
    converted = convert_ldm_vae_checkpoint(
        {f"first_stage_model.{name}": mark for name, mark in marked.items()}, vae.config
    )
    assert {name: mark.item() for name, mark in converted.items()} == {
        name: marked[its].item() for name, its in original.items()
    }


@pytest.mark.parametrize("small", [False, True])
def test_of_text_encoder_2(small: bool) -> None:
    model = models("base", small=small)["text_encoder_2"]
    state = model.state_dict()
    original = open_clip_names(state.keys())
    size = model.config.hidden_size
    file = {f"x.{its}": torch.zeros(3 * size if "in_proj" in its else size, 1) for its in original.values()}
    converted = convert_open_clip_checkpoint(model, file, prefix="x.")
    assert converted.keys() == state.keys()
    assert len(file) == len(state) - 4 * model.config.num_hidden_layers  # of six, two are left
