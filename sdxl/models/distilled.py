"""A distilled model's weights over a base: a UNet's state, or a LoRA that becomes part of the weights."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from sdxl.catalog.entries import Model
from sdxl.config.references import Sources, UnusableFile, located
from sdxl.config.settings import Settings
from sdxl.files.check import named
from sdxl.files.header import read_header
from sdxl.models.facts import BentoModel
from sdxl.models.finite import check_finite
from sdxl.models.hub import fetch_files
from sdxl.models.labels import label
from sdxl.models.lora_file import read_lora
from sdxl.models.lora_names import layers_of

LORA_FILE = "pytorch_lora_weights.safetensors"  # diffusers' name, of a repository's only file
logger = logging.getLogger("bentoml.sdxl_relay")


def add_distilled(pipeline: Any, model: Model, settings: Settings, bento_model: BentoModel) -> dict[str, Path]:
    """Puts the weights of a distilled model into the base's pipeline; gives their file, for the digest.

    Raises ConfigurationError for a file that is neither of both, or does not fit this UNet.
    """
    if model.distilled is None:
        return {}
    with named(*label("distilled", model, settings)):
        path = _file(model.distilled, bento_model)
        header = read_header(path)
        is_lora = any("lora" in name.lower() for name in header.tensors)
        if is_lora:
            _add_lora(pipeline, path)
        else:
            _load_unet(pipeline, path, set(header.tensors))
        check_finite({"unet": pipeline.unet})
    logger.info("%s is in the base's weights, %s", path.name, "a LoRA" if is_lora else "a UNet's state")
    return {"distilled": path}


def _file(reference: str, bento_model: BentoModel) -> Path:
    path = located(reference, Sources(partial(fetch_files, patterns=(LORA_FILE,)), bento_model))
    path = path / LORA_FILE if path.is_dir() else path
    if "_x0" in path.name:
        raise UnusableFile("a UNet that predicts the sample itself (SDXL-Lightning's of one step) is not supported")
    return path


@torch.no_grad()
def _add_lora(pipeline: Any, path: Path) -> None:
    for (part, name), changes in read_lora(path, layers_of(pipeline)).items():
        layer = getattr(pipeline, part).get_submodule(name)
        for change in changes:
            parameter, delta = change.delta(layer)
            own = getattr(layer, parameter)
            setattr(layer, parameter, nn.Parameter(own + change.scale * delta))


def _load_unet(pipeline: Any, path: Path, names: set[str]) -> None:
    expected = set(pipeline.unet.state_dict())
    if names != expected:
        raise UnusableFile(
            f"neither a LoRA nor a UNet's state: {len(expected - names)} of the UNet's {len(expected)} tensors are not"
            f" there, and {len(names - expected)} others are; a whole checkpoint goes into SDXL_BASE"
        )
    pipeline.unet.load_state_dict(load_file(path))
