"""The pictures are right: what the prompt names is there, whatever the sampler and the way of refining."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest

from sdxl.request.samplers import SAMPLERS
from tests.service.server import Server
from training.judge import judge
from training.scenes import Scene, scenes

RIGHT_SHARE = 0.95
MODES = ("ensemble", "sdedit", "none")


def assert_right(server: Server, wanted: list[tuple[Scene, str, str]]) -> None:
    def is_right(case: tuple[Scene, str, str]) -> bool:
        scene, name, mode = case
        picture = server.generate(prompt=scene.caption, seed=17, scheduler=name, refine=mode, num_inference_steps=20)
        return judge(picture, scene).all_right

    with ThreadPoolExecutor(16) as pool:
        right = list(pool.map(is_right, wanted))
    wrong = [
        f"{name}, {mode}: {scene.caption}" for (scene, name, mode), ok in zip(wanted, right, strict=True) if not ok
    ]
    assert sum(right) >= RIGHT_SHARE * len(right), wrong


def test_every_sampler_and_mode_draws_its_scene(server: Server) -> None:
    cases = [*((name, "ensemble") for name in SAMPLERS), ("euler", "sdedit"), ("euler", "none")]
    drawn = scenes(2024, len(cases), held_out=True)
    assert_right(server, [(scene, name, mode) for scene, (name, mode) in zip(drawn, cases, strict=True)])


@pytest.mark.full
def test_ten_prompts_by_every_sampler_and_mode(server: Server) -> None:
    assert_right(server, list(product(scenes(2024, 10, held_out=True), SAMPLERS, MODES)))
