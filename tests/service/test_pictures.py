"""The pictures are right: what the prompt names is there, whatever the sampler and the way of refining."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sdxl.sampler import SAMPLERS
from tests.service.server import Server, serving
from training.judge import judge
from training.scenes import Scene, scenes

RIGHT_SHARE = 0.95


@pytest.fixture
def busy_server(tmp_path: Path) -> Iterator[Server]:
    """A server whose runners have one thread each: both are busy here, and would fight for two cores."""
    with serving(tmp_path, OMP_NUM_THREADS=1) as running:
        yield running


def test_ten_prompts_by_every_sampler_and_mode(busy_server: Server) -> None:
    wanted = [(scene, name, mode) for scene in scenes(2024, 10, held_out=True)
              for name in SAMPLERS for mode in ("ensemble", "sdedit", "none")]  # fmt: skip

    def is_right(case: tuple[Scene, str, str]) -> bool:
        scene, name, mode = case
        picture = busy_server.generate(
            prompt=scene.caption, seed=17, scheduler=name, refine=mode, num_inference_steps=20
        )
        return judge(picture, scene).all_right

    with ThreadPoolExecutor(16) as pool:
        right = list(pool.map(is_right, wanted))
    wrong = [
        f"{name}, {mode}: {scene.caption}" for (scene, name, mode), ok in zip(wanted, right, strict=True) if not ok
    ]
    assert sum(right) >= RIGHT_SHARE * len(right), wrong
