"""An engine whose models come and go: who waits, and for whom nobody waits."""

from collections.abc import Mapping
from typing import Any

import pytest

from stepbatch.engine import Engine
from stepbatch.errors import DeadlinePassed
from stepbatch.job import Need
from stepbatch.policy import RowLimit, ShortestRemainingWork
from stepbatch.residence import Residence
from tests.stepbatch.fakes import TIMEOUT_S
from tests.stepbatch.loads import FalseLoader
from tests.stepbatch.test_residence import job_of


def engine_with(loader: FalseLoader, budget: int = 2, options: Mapping[str, Any] | None = None) -> Engine:
    policy = ShortestRemainingWork(limit=RowLimit(rows=8), patience=1.0, low_priority_s=0.0)
    engine: Engine
    residence = Residence(loader, budget, wake=lambda: engine.wake())
    engine = Engine(residence, policy, max_jobs=16, seconds_per_work=1e-6, **(options or {}))
    return engine


def test_others_work_while_a_model_is_loaded() -> None:
    loader = FalseLoader()
    with engine_with(loader) as engine:
        waiting, quick = job_of("slow", seed=1), job_of("quick", seed=2)
        engine.submit(quick)
        engine.submit(waiting)
        while not loader.under_way:
            pass
        while loader.end() != Need("quick"):
            pass
        quick.future.result(TIMEOUT_S)
        while Need("slow") not in loader.begun:
            pass
        if loader.under_way:
            assert not waiting.future.done()
            loader.end()
        waiting.future.result(TIMEOUT_S)
    assert loader.unets["quick"].calls[0].pooled == [2.0, 2.0]
    assert loader.unets["slow"].calls[0].pooled == [1.0, 1.0]
    assert waiting.timings.load_ms > 0


def test_a_tick_is_of_one_model() -> None:
    loader = FalseLoader()
    residence = Residence(loader, 2, wake=lambda: None)
    for model in "ab":
        residence.put(Need(model), loader.loaded(Need(model)))
    policy = ShortestRemainingWork(limit=RowLimit(rows=8), patience=1.0, low_priority_s=0.0)
    engine = Engine(residence, policy, max_jobs=16, seconds_per_work=1e-6)
    jobs = [job_of("ab"[seed % 2], seed=seed) for seed in range(6)]
    for job in jobs:
        engine.submit(job)
    with engine:
        for job in jobs:
            job.future.result(TIMEOUT_S)
    for index, model in enumerate("ab"):
        assert {seed for call in loader.unets[model].calls for seed in call.pooled} == {index, index + 2, index + 4}


def test_a_job_that_waits_for_a_load_can_be_late_and_be_cancelled() -> None:
    loader = FalseLoader()
    with engine_with(loader) as engine:
        late, given_up = job_of("a", time_limit_s=0.2), job_of("a")
        engine.submit(late)
        engine.submit(given_up)
        with pytest.raises(DeadlinePassed):
            late.future.result(TIMEOUT_S)
        given_up.cancel()
        assert given_up.future.cancelled()
        while engine.stats.waiting:
            pass
        assert engine.stuck_s == 0.0


def test_a_model_that_makes_room_is_not_worked_on() -> None:
    """Were it, its UNet would be called after it has left."""
    loader = FalseLoader()
    with engine_with(loader, budget=1) as engine:
        jobs = [job_of("ab"[seed % 2], seed=seed, steps=20) for seed in range(4)]
        for job in jobs:
            engine.submit(job)
        while not all(job.future.done() for job in jobs):
            if loader.under_way:
                loader.end()
        assert [job.future.exception() for job in jobs] == [None] * 4
    assert len(loader.begun) >= 2


def test_the_engine_is_not_stuck_while_it_waits_for_a_load() -> None:
    readings = [0.0]
    with engine_with(FalseLoader(), options={"clock": lambda: readings[0]}) as engine:
        engine.submit(job_of("a"))
        readings[0] = 100.0
        engine.wake()
        while engine.stuck_s:
            pass
