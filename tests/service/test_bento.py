"""The built bento serves the same pictures, without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from diffusers import StableDiffusionXLPipeline

from tests.conftest import MINI
from tests.sdxl.models.original_layout import write_original
from tests.service.server import Server, environment, run_module, serving
from tests.service.split import serving_split

REQUEST: dict[str, Any] = {"prompt": "a red cube on top of a blue sphere, yellow background", "seed": 1}
KEEP = """
import shutil, sys, bentoml
with bentoml.models.create("mini-refiner:v1") as model:
    shutil.copytree(sys.argv[1], model.path, dirs_exist_ok=True)
"""


def test_the_built_bento_gives_the_same_picture_also_from_one_file_and_a_bento_model(
    server: Server, tmp_path: Path
) -> None:
    built = run_module(["bentoml", "build", "--output", "tag"], tmp_path, timeout_s=200)
    assert built.returncode == 0, built.stderr
    tag = built.stdout.strip().rsplit("__tag__:", 1)[1]
    bento = tmp_path / "bentos" / tag.replace(":", "/")
    assert not (bento / "src" / "training").exists()
    assert not (bento / "src" / "tests").exists()
    _check_container(bento)
    _check_manifest(bento)
    assert "](docs/" not in (bento / "README.md").read_text()  # which are not in the bento
    pipeline = StableDiffusionXLPipeline.from_pretrained(MINI / "base", dtype=torch.float16, add_watermarker=False)
    write_original(pipeline, tmp_path / "base.safetensors")
    keep_refiner(tmp_path)
    elsewhere = tmp_path / "empty"
    elsewhere.mkdir()
    with serving(
        tmp_path,
        target=tag,
        folder=elsewhere,
        HF_HUB_OFFLINE="1",
        SDXL_BASE=tmp_path / "base.safetensors",
        SDXL_BASE_CONFIG=MINI / "base",
        SDXL_REFINER="mini-refiner:v1",
        SDXL_MAX_ROWS=16,
    ) as from_bento:
        for fields in (REQUEST, {**REQUEST, "refine": "sdedit", "num_inference_steps": 8}):
            assert np.array_equal(from_bento.generate(**fields), server.generate(**fields))


def _check_manifest(bento: Path) -> None:
    """What BentoCloud goes by."""
    services = {each["name"]: each["config"] for each in yaml.safe_load((bento / "bento.yaml").read_text())["services"]}
    assert {name: config["traffic"]["concurrency"] for name, config in services.items()} == {
        "sdxl_relay": 64,
        "sdxl_base": 8,
        "sdxl_refiner": 8,
    }
    assert {name for name, config in services.items() if config["resources"].get("gpu")} == {
        "sdxl_base",
        "sdxl_refiner",
    }


@pytest.mark.full
def test_the_built_bento_apart(server: Server, tmp_path: Path) -> None:
    built = run_module(["bentoml", "build", "--output", "tag"], tmp_path, timeout_s=200)
    bento = tmp_path / "bentos" / built.stdout.strip().rsplit("__tag__:", 1)[1].replace(":", "/")
    (tmp_path / "split").mkdir()
    with serving_split(tmp_path / "split", bento / "src", SDXL_MAX_ROWS=16) as split:
        expected = server.post("/generate", json=REQUEST)
        assert split.server.post("/generate", json=REQUEST).content == expected.content


def keep_refiner(home: Path) -> None:
    """Puts the mini refiner into BentoML's store, as mini-refiner:v1."""
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KEEP, str(MINI / "refiner")],
        env=environment(home), check=True, timeout=100,
    )  # fmt: skip


def _check_container(bento: Path) -> None:
    """The image's build must find the packages that the requirements name by their path."""
    requirements = (bento / "env" / "python" / "requirements.txt").read_text().splitlines()
    (stand_in,) = [line for line in requirements if line.startswith("./")]
    assert (bento / "src" / stand_in / "pyproject.toml").is_file()
    dockerfile = (bento / "env" / "docker" / "Dockerfile").read_text()
    assert "COPY --chown=bentoml:bentoml ./src/standins ./src/standins" in dockerfile.splitlines()
    assert "build-essential" not in dockerfile
