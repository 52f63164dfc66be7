"""A base in the place of the refiner gives what diffusers' img2img pipeline of that base gives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdxl.config.settings import MINI
from tests.in_process import Studio, studio
from tests.service.reference import Reference

FIELDS: dict[str, Any] = {
    "prompt": "a red cube on top of a blue sphere",
    "negative_prompt": "green",
    "seed": 4,
    "num_inference_steps": 8,
    "guidance_scale": 3.0,
    "width": 64,
    "height": 64,
}


@pytest.fixture(scope="module")
def twice() -> Iterator[Studio]:
    with studio(refiner=str(MINI / "base")) as opened:
        yield opened


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    checkpoints = tmp_path_factory.mktemp("twice")
    for stage in ("base", "refiner"):
        (checkpoints / stage).symlink_to(MINI / "base")
    return Reference(checkpoints)


@pytest.mark.parametrize("fields", [{"high_noise_frac": 0.5}, {"refine": "sdedit", "strength": 0.6}])
def test_as_diffusers_does(twice: Studio, reference: Reference, fields: dict[str, Any]) -> None:
    ours = twice.generate(**FIELDS, **fields).astype(int)
    theirs = reference.generate(**FIELDS, **fields).astype(int)
    assert np.abs(ours - theirs).max() <= 1
