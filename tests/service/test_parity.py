"""The service gives what the SDXL model cards' own code gives: at most 2 of 255 levels apart anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdxl.config.settings import MINI
from sdxl.request.samplers import SAMPLERS
from tests.in_process import Studio
from tests.service.reference import Reference, distance
from tests.service.server import Server

PROMPT = "a red cube on top of a blue sphere, yellow background"
MODES = ("ensemble", "sdedit", "none")
TOLERANCE = 2


def assert_same(server: Server | Studio, reference: Reference, **fields: Any) -> None:
    small = {"width": 64, "height": 64}  # a quarter of the native size: the same code in a third of the time
    settled = {"prompt": PROMPT, "seed": 7, "num_inference_steps": 8, "guidance_scale": 3.0, **small, **fields}
    assert distance(server.generate(**settled), reference.generate(**settled)) <= TOLERANCE


@pytest.mark.parametrize("refine", MODES)
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_every_sampler_and_mode(server: Server, reference: Reference, scheduler: str, refine: str) -> None:
    assert_same(server, reference, scheduler=scheduler, refine=refine, num_inference_steps=10)


@pytest.mark.parametrize("refine", [MODES[0], *(pytest.param(mode, marks=pytest.mark.full) for mode in MODES[1:])])
@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_every_sampler_and_mode_with_epsilon(
    epsilon: Studio, epsilon_reference: Reference, scheduler: str, refine: str
) -> None:
    assert_same(epsilon, epsilon_reference, scheduler=scheduler, refine=refine, num_inference_steps=10)


FIELDS: dict[str, dict[str, Any]] = {
    **{f"guidance {scale}": {"guidance_scale": scale} for scale in (0.0, 1.0, 5.0, 12.0)},
    "guidance of the refiner": {"refiner_guidance_scale": 7.5},
    "guidance_rescale": {"guidance_rescale": 0.7, "guidance_scale": 7.0},
    "native size": {"width": 128, "height": 128},
    "wide": {"width": 192, "height": 128},
    "tall": {"width": 96, "height": 168},
    "odd latents": {"width": 136, "height": 120},
    "clip_skip 0": {"clip_skip": 0},
    "clip_skip 1": {"clip_skip": 1},
    "clip_skip 2": {"clip_skip": 2},
    "prompt_2": {"prompt_2": "a green cone, white background"},
    "negative prompt": {"negative_prompt": "a blue cone"},
    "empty negative prompt": {"negative_prompt": ""},
    "negative prompts": {"negative_prompt": "a blue cone", "negative_prompt_2": "a gray background"},
    "negative_prompt_2 alone": {"negative_prompt_2": "a gray background"},
    "long prompt": {"prompt": " ".join([PROMPT] * 12)},
    "sizes": {"original_size": (256, 200), "crops_coords_top_left": (16, 8), "target_size": (160, 120)},
    "negative sizes": {"negative_original_size": (64, 64), "negative_target_size": (128, 64),
                       "negative_crops_coords_top_left": (8, 32)},
    "negative original size alone": {"negative_original_size": (64, 64)},
    "scores": {"aesthetic_score": 7.5, "negative_aesthetic_score": 1.0},
    "early cutoff": {"high_noise_frac": 0.3},
    "late cutoff": {"high_noise_frac": 0.95, "num_inference_steps": 30},
    "strong sdedit": {"refine": "sdedit", "strength": 0.9},
    "full sdedit": {"refine": "sdedit", "strength": 1.0},
    "many steps": {"num_inference_steps": 50},
}  # fmt: skip


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_every_field(server: Server, reference: Reference, fields: dict[str, Any]) -> None:
    assert_same(server, reference, **fields)


@pytest.mark.full  # the prediction type is the sampler's affair, the fields are not
@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_every_field_with_epsilon(epsilon: Studio, epsilon_reference: Reference, fields: dict[str, Any]) -> None:
    assert_same(epsilon, epsilon_reference, **fields)


def test_a_base_and_a_refiner_of_unlike_prediction_types(
    epsilon: Studio, mini: Studio, epsilon_checkpoints: Path, tmp_path: Path
) -> None:
    """They hand over the same latents: a base that predicts noise, and the mini refiner, which predicts velocity."""
    (tmp_path / "base").symlink_to(epsilon_checkpoints / "base")
    (tmp_path / "refiner").symlink_to(MINI / "refiner")
    for scheduler in ("euler", "dpmpp_2m"):
        assert_same(Studio(epsilon.base, mini.refiner), Reference(tmp_path), scheduler=scheduler)
