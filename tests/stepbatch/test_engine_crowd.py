"""Two hundred jobs of all kinds from four threads at once."""

import random
import threading
from concurrent.futures import CancelledError, wait
from dataclasses import dataclass
from typing import Any

import torch

from stepbatch.denoising import Denoising
from stepbatch.errors import QueueFull
from stepbatch.job import Job
from tests.stepbatch.fakes import (
    TIMEOUT_S,
    BrokenSampler,
    FalseUNet,
    denoise_alone,
    make_denoising,
    make_engine,
    make_job,
)

JOBS_PER_THREAD, THREADS, MAX_ROWS = 50, 4, 6


@dataclass(frozen=True, kw_only=True)
class Case:
    job: Job[Any]
    fate: str  # "done", "failed" or "cancelled" (which may come too late)
    alone: Denoising


def make_case(dice: random.Random) -> Case:
    seed, steps, rows = dice.randrange(10_000), dice.randint(0, 6), dice.choice([1, 2])
    size, fate = dice.choice([(8, 8), (4, 8)]), dice.choice(["done"] * 6 + ["failed", "cancelled"])
    noisy = dice.random() < 0.5
    steps = max(steps, 1) if fate == "failed" else steps
    broken = BrokenSampler(steps, error=ValueError("bad"), where="step", at_step=dice.randrange(max(steps, 1)))
    sampler = broken if fate == "failed" else None
    return Case(
        job=make_job(seed=seed, steps=steps, rows=rows, size=size, noisy=noisy, sampler=sampler),
        fate=fate,
        alone=make_denoising(seed=seed, steps=steps, rows=rows, size=size, noisy=noisy),
    )


def test_two_hundred_jobs_from_four_threads() -> None:
    unet = FalseUNet()
    engine = make_engine(unet, max_rows=MAX_ROWS, max_jobs=30)
    cases: list[list[Case]] = [[] for _ in range(THREADS)]

    def send(index: int) -> None:
        dice = random.Random(index)
        for _ in range(JOBS_PER_THREAD):
            case = make_case(dice)
            cases[index].append(case)
            while True:
                try:
                    engine.submit(case.job)
                    break
                except QueueFull:
                    wait([earlier.job.future for earlier in cases[index][-8:-1]], TIMEOUT_S)
            if case.fate == "cancelled":
                case.job.cancel()

    threads = [threading.Thread(target=send, args=(index,)) for index in range(THREADS)]
    with engine:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        everyone = [case for group in cases for case in group]
        assert not wait([case.job.future for case in everyone], TIMEOUT_S).not_done
    assert len(everyone) == JOBS_PER_THREAD * THREADS

    ended = {"done": 0, "failed": 0, "cancelled": 0}
    for case in everyone:
        ended[check(case)] += 1
    stats = engine.stats
    assert ended == {"done": stats.done, "failed": stats.failed, "cancelled": stats.cancelled}
    assert ended["failed"] > 0
    assert max(unet.rows) <= MAX_ROWS
    assert stats.ticks == len(unet.calls)
    assert stats.rows == sum(unet.rows)
    assert stats.rows > 2 * stats.ticks, "hardly any job had company"


def check(case: Case) -> str:
    """How the case ended, which must be what was meant for it."""
    try:
        result = case.job.future.result(timeout=0)
    except CancelledError:
        assert case.fate == "cancelled"
        return "cancelled"
    except ValueError:
        assert case.fate == "failed"
        return "failed"
    assert case.fate in ("done", "cancelled")
    assert torch.equal(result, denoise_alone(case.alone, FalseUNet()))
    return "done"
