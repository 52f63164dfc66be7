"""The server over checkpoints in other forms than folders makes the same pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline

from tests.conftest import MINI
from tests.sdxl.models.original_layout import write_original
from tests.service.server import Server, environment, serving

REQUEST: dict[str, Any] = {"prompt": "a red cube on top of a blue sphere, yellow background", "seed": 3}
KEEP = """
import shutil, sys, bentoml
with bentoml.models.create("mini-refiner:v1") as model:
    shutil.copytree(sys.argv[1], model.path, dirs_exist_ok=True)
"""


def test_one_file_and_a_bento_model(server: Server, tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    pipeline = StableDiffusionXLPipeline.from_pretrained(MINI / "base", dtype=torch.float16, add_watermarker=False)
    write_original(pipeline, base)
    home = tmp_path / "bentoml"
    home.mkdir()
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KEEP, str(MINI / "refiner")],
        env=environment(home), check=True, timeout=100,
    )  # fmt: skip
    with serving(
        home, SDXL_BASE=base, SDXL_BASE_CONFIG=MINI / "base", SDXL_REFINER="mini-refiner:v1", SDXL_MAX_ROWS=16
    ) as other:
        for fields in (REQUEST, {**REQUEST, "refine": "sdedit", "num_inference_steps": 8}):
            assert np.array_equal(other.generate(**fields), server.generate(**fields))
