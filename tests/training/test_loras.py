"""The mini's two LoRAs, each loaded by `LoadedLoras` and by diffusers, make pictures in their style, and right ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray

from sdxl.config.settings import MINI
from sdxl.models.lora import Adapters
from tests.sdxl.models.lora_files import loaded
from training.scenes import Scene, scenes
from training.styles import STYLES

FILES = {name: MINI / "loras" / f"{name}.safetensors" for name in STYLES}
SCENES: list[Scene] = scenes(4243, 6, held_out=True)
ROWS = 2 * len(SCENES)  # with guidance
MAX_BYTES = 400_000

Pictures = NDArray[np.uint8]  # [pictures, 128, 128, 3]


def base() -> Any:
    pipeline = StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def pictures(pipeline: Any) -> Pictures:
    made = pipeline(
        prompt=[scene.caption for scene in SCENES], num_inference_steps=12, guidance_scale=3.0, output_type="np",
        generator=[torch.Generator().manual_seed(index) for index in range(len(SCENES))],
    )  # fmt: skip
    levels: Pictures = (made.images * 255).round().astype(np.uint8)
    return levels


@cache
def ours(choice: Adapters) -> Pictures:
    pipeline = base()
    loras = loaded(pipeline, FILES)
    loras.for_rows([choice] * ROWS)
    return pictures(pipeline)


def seen(name: str, made: Iterable[NDArray[np.uint8]]) -> int:
    return sum(STYLES[name].is_seen(picture, scene) for picture, scene in zip(made, SCENES, strict=True))


@pytest.mark.parametrize("name", STYLES)
def test_pictures_have_the_style_and_are_right(name: str) -> None:
    made = ours(((name, 1.0),))
    right = sum(STYLES[name].is_right(picture, scene) for picture, scene in zip(made, SCENES, strict=True))
    assert seen(name, made) >= 5
    assert right >= 5
    assert seen(name, ours(())) == 0


@pytest.mark.parametrize("name", STYLES)
def test_diffusers_makes_the_same_pictures(name: str) -> None:
    pipeline = base()
    pipeline.load_lora_weights(FILES[name], adapter_name=name)
    distance = np.abs(pictures(pipeline).astype(int) - ours(((name, 1.0),)))
    assert distance.max() <= 2


@pytest.mark.parametrize("path", FILES.values(), ids=lambda path: path.stem)
def test_they_are_small(path: Path) -> None:
    assert path.stat().st_size <= MAX_BYTES
