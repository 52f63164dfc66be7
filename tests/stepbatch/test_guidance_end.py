"""Jobs whose guidance ends before their steps do."""

import pytest
import torch

from stepbatch.engine import Engine
from stepbatch.models import OneModel
from stepbatch.policy import RowLimit, ShortestRemainingWork
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, denoise_alone, make_denoising, make_engine, make_job


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_the_prompts_row_goes_on_alone(rescale: float) -> None:
    ends = {1: 1, 2: 3, 3: 9}
    jobs = [make_job(seed=seed, rescale=rescale, guided_steps=end) for seed, end in ends.items()]
    unet = FalseUNet()
    engine = make_engine(unet)
    for job in jobs:
        engine.submit(job)
    with engine:
        results = [job.future.result(TIMEOUT_S) for job in jobs]
    assert unet.rows == [6, 5, 5, 4]
    assert [call.pooled for call in unet.calls[1:3]] == [[1.0, 2.0, 2.0, 3.0, 3.0]] * 2
    assert engine.stats.rows == 20
    for (seed, end), got in zip(ends.items(), results, strict=True):
        state = make_denoising(seed=seed, rescale=rescale, guided_steps=end)
        torch.testing.assert_close(got, denoise_alone(state, FalseUNet()))


def test_its_conditioning_stays_the_same_object() -> None:
    state = make_denoising(guided_steps=1)
    kept = []
    for _ in range(3):
        state.advance(state.latents)
        kept.append(state.conditioning)
    assert kept[0] is kept[1] is kept[2]
    assert kept[0].rows == 1


@pytest.mark.parametrize(
    ("rows", "guided_steps", "work"),
    [(2, 1, [5, 3, 2, 1, 0]), (2, 3, [7, 5, 3, 1, 0]), (2, 9, [8, 6, 4, 2, 0]), (1, 2, [4, 3, 2, 1, 0])],
)
def test_the_work_left_counts_the_rows_to_come(rows: int, guided_steps: int, work: list[int]) -> None:
    job = make_job(rows=rows, guided_steps=guided_steps, size=(1, 1))
    left = [job.remaining_work]
    job.enter_denoising()
    assert job.remaining_work == left[0]
    for _ in range(4):
        job.advance(job.denoising.latents)
        left.append(job.remaining_work)
    assert left == work


def test_the_free_row_is_anothers_at_once() -> None:
    unet = FalseUNet()
    policy = ShortestRemainingWork(limit=RowLimit(rows=3), patience=1.0, low_priority_s=0.0)
    engine = Engine(OneModel(unet), policy, max_jobs=4, seconds_per_work=1.0)
    jobs = [make_job(seed=1, guided_steps=2), make_job(seed=2, steps=6)]
    for job in jobs:
        engine.submit(job)
    with engine:
        for job in jobs:
            job.future.result(TIMEOUT_S)
    assert unet.rows == [2, 2, 3, 3, 2, 2, 2, 2]
