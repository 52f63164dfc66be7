"""Folders of models as people have them: files put on shelves, and the catalogs that come of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sdxl.catalog.check import check_start
from sdxl.catalog.entries import Catalog
from sdxl.catalog.watch import Watched
from sdxl.config.settings import Settings, StageName
from tests.conftest import MINI

TEXT_WIDTH = 192  # the mini base's
CONFIGS = {"base_config": str(MINI / "base"), "refiner_config": str(MINI / "refiner")}
STAGES: tuple[StageName, ...] = ("base",)


def put(file: Path, path: Path) -> Path:
    """A file under another name, in a folder that may not be there yet. It shares its bytes, so never write to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.link(file, path)
    return path


def put_folder(stage: StageName, path: Path) -> Path:
    """The mini checkpoint's folder."""
    shutil.copytree(MINI / stage, path)
    return path


def lora(path: Path, *, width: int = TEXT_WIDTH, **metadata: str) -> Path:
    """A LoRA of one layer, in kohya's layout."""
    layer = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    return tensors(
        path,
        {f"{layer}.lora_down.weight": torch.ones(4, width), f"{layer}.lora_up.weight": torch.ones(64, 4)},
        **metadata,
    )


def tensors(path: Path, state: dict[str, torch.Tensor], **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, path, metadata=metadata or None)
    return path


def embedding(path: Path) -> Path:
    return tensors(path, {"clip_l": torch.zeros(2, 64), "clip_g": torch.zeros(2, 128)})


def settings(models: Path | None = None, **given: Any) -> Settings:
    more = {} if models is None else {"models": str(models)}
    return Settings.model_validate({**CONFIGS, **more, **given})


def catalog(models: Path | None = None, **given: Any) -> Catalog:
    return Watched(settings(models, **given)).catalog


def start(models: Path | None = None, *, stages: tuple[StageName, ...] = STAGES, **given: Any) -> None:
    check_start(settings(models, **given), stages)
