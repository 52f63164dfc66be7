"""What each model and each trained LoRA of a folder draws is right, all of them asked for at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray

from tests.conftest import MINI
from tests.models_folder import ENVIRONMENT, write_folder
from tests.service.server import Server, serving
from training.judge import judge
from training.scenes import Scene, scenes
from training.styles import STYLES

Pixels = NDArray[np.uint8]
DRAWING = ("mini v", "changed/no 1 (v1.1)", "changed/no 2 (v1.2)", "changed/as a folder")
SCENES = scenes(77, 6, held_out=True)
RIGHT_SHARE = 0.9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_folder(folder)
    shutil.copytree(MINI / "refiner", folder / "checkpoints" / "mini refiner")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings: dict[str, Any] = {"SDXL_MODELS": folder, "SDXL_REFINER": "mini refiner", **ENVIRONMENT}
    with serving(tmp_path_factory.mktemp("judged"), **settings) as running:
        yield running


def test_all_are_right(server: Server) -> None:
    def plain(picture: Pixels, scene: Scene) -> bool:
        return judge(picture, scene).all_right

    def swapped(picture: Pixels, scene: Scene) -> bool:
        return plain(picture[..., ::-1], scene)

    wanted: dict[str, tuple[dict[str, Any], Callable[[Pixels, Scene], bool]]] = {
        **{name: ({"model": name}, plain) for name in DRAWING},
        "red is blue": ({"model": "swapped"}, swapped),
        **{
            name: ({"loras": [{"name": name}], "refine": "none"}, style.is_right) for name, style in STYLES.items()
        },
    }

    def is_right(case: tuple[str, Scene]) -> bool:
        fields, rule = wanted[case[0]]
        return rule(server.generate(prompt=case[1].caption, seed=5, num_inference_steps=20, **fields), case[1])

    cases = [(name, scene) for scene in SCENES for name in wanted]
    with ThreadPoolExecutor(len(cases)) as pool:
        right = list(pool.map(is_right, cases))
    wrong = [f"{name}: {scene.caption}" for (name, scene), ok in zip(cases, right, strict=True) if not ok]
    assert sum(right) >= RIGHT_SHARE * len(cases), wrong


def test_the_one_that_predicts_noise_draws_what_diffusers_draws(server: Server, folder: Path) -> None:
    fields: dict[str, Any] = {"prompt": "noise", "num_inference_steps": 8, "guidance_scale": 3.0}
    ours = server.generate(**fields, model="noise", refine="none", seed=5, width=128, height=128, watermark=False)
    pipeline = StableDiffusionXLPipeline.from_single_file(
        str(folder / "checkpoints" / "noise.safetensors"),
        config=str(MINI / "base"),
        add_watermarker=False,
        local_files_only=True,
    )
    pipeline.scheduler.register_to_config(prediction_type="epsilon")
    theirs = pipeline(**fields, generator=torch.Generator().manual_seed(5), output_type="np").images[0]
    assert np.abs(ours / 255 - theirs).max() <= 2 / 255
