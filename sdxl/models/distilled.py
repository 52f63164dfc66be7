"""A distilled model's weights over a base: a UNet's state, or a LoRA that becomes part of the weights."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file

from sdxl.config.presets import PRESETS, PresetName
from sdxl.config.references import Sources, located
from sdxl.config.settings import ConfigurationError, Settings
from sdxl.models.hub import fetch_files

LORA_FILE = "pytorch_lora_weights.safetensors"  # diffusers' name, of a repository's only file
logger = logging.getLogger("bentoml.sdxl_relay")


def set_sampler(pipeline: Any, preset: PresetName) -> None:
    """Gives the pipeline a sampler of its own kind, configured as the preset has it."""
    own = pipeline.scheduler
    pipeline.scheduler = type(own).from_config(own.config, **PRESETS[preset].sampler)


def add_distilled(pipeline: Any, settings: Settings, bento_model: Callable[[str], Path]) -> dict[str, Path]:
    """Puts the weights of SDXL_DISTILLED into the base's pipeline; gives their file, for the digest.

    Raises ConfigurationError for a file that is neither of both, or does not fit this UNet.
    """
    if settings.distilled is None:
        return {}
    try:
        path = _file(settings.distilled, bento_model)
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
        is_lora = any("lora" in name.lower() for name in names)
        if is_lora:
            _add_lora(pipeline, path)
        else:
            _load_unet(pipeline, path, names)
    except Exception as error:  # diffusers raises many kinds for a LoRA that is none, even IndexError
        told = f"{type(error).__name__}: {error!s:.500}"
        raise ConfigurationError(f"SDXL_DISTILLED={settings.distilled} cannot be loaded: {told}") from error
    logger.info("%s is in the base's weights, %s", path.name, "a LoRA" if is_lora else "a UNet's state")
    return {"distilled": path}


def _file(reference: str, bento_model: Callable[[str], Path]) -> Path:
    path = located(reference, Sources(partial(fetch_files, patterns=(LORA_FILE,)), bento_model))
    path = path / LORA_FILE if path.is_dir() else path
    if "_x0" in path.name:
        raise ValueError("a UNet that predicts the sample itself (SDXL-Lightning's of one step) is not supported")
    return path


def _add_lora(pipeline: Any, path: Path) -> None:
    pipeline.load_lora_weights(path.parent, weight_name=path.name, local_files_only=True)
    if not pipeline.get_list_adapters():
        raise ValueError("a LoRA of which nothing belongs to SDXL's base")
    pipeline.fuse_lora()
    pipeline.unload_lora_weights()


def _load_unet(pipeline: Any, path: Path, names: set[str]) -> None:
    expected = set(pipeline.unet.state_dict())
    if names != expected:
        raise ValueError(
            f"neither a LoRA nor a UNet's state: {len(expected - names)} of the UNet's {len(expected)} tensors are not"
            f" there, and {len(names - expected)} others are; a whole checkpoint goes into SDXL_BASE"
        )
    pipeline.unet.load_state_dict(load_file(path))
