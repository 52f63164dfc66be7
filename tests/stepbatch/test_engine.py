import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
import torch

from stepbatch.denoising import Denoising
from stepbatch.engine import Engine
from stepbatch.job import Job
from stepbatch.models import OneModel
from stepbatch.policy import FirstComeFirstServed
from tests.stepbatch.fakes import (
    TIMEOUT_S,
    FalseUNet,
    denoise_alone,
    make_denoising,
    make_engine,
    make_job,
)


def test_a_jobs_result_is_that_of_the_plain_loop() -> None:
    job = make_job(seed=7, steps=5)
    with make_engine(FalseUNet()) as engine:
        engine.submit(job)
        got = job.future.result(TIMEOUT_S)
    torch.testing.assert_close(got, denoise_alone(make_denoising(seed=7, steps=5), FalseUNet()))


def test_jobs_join_and_leave_between_ticks_and_get_the_results_they_get_alone() -> None:
    first, second = make_job(seed=1, steps=4), make_job(seed=2, steps=4, rows=1)

    def join(call: int) -> None:
        if call == 2:
            engine.submit(second)

    unet = FalseUNet(before=join)
    engine = make_engine(unet)
    with engine:
        engine.submit(first)
        results = [job.future.result(TIMEOUT_S) for job in (first, second)]
    assert unet.rows == [2, 2, 3, 3, 1, 1]
    alone = [make_denoising(seed=1, steps=4), make_denoising(seed=2, steps=4, rows=1)]
    for got, state in zip(results, alone, strict=True):
        assert torch.equal(got, denoise_alone(state, FalseUNet()))


def test_different_shapes_never_share_a_tick() -> None:
    jobs = [make_job(seed=i, size=size) for i, size in enumerate([(8, 8), (8, 16), (8, 8), (16, 8)])]
    unet = FalseUNet()
    engine = make_engine(unet)
    for job in jobs:
        engine.submit(job)
    with engine:
        shapes = [tuple(job.future.result(TIMEOUT_S).shape[1:]) for job in jobs]
    assert shapes == [(4, 8, 8), (4, 8, 16), (4, 8, 8), (4, 16, 8)]
    assert [(call.rows, call.shape) for call in unet.calls] == (
        [(4, (4, 8, 8))] * 4 + [(2, (4, 8, 16))] * 4 + [(2, (4, 16, 8))] * 4
    )


def test_rows_never_exceed_max_rows_and_no_job_is_prepared_too_early() -> None:
    events: list[str] = []

    def prepare() -> Denoising:
        events.append("prepare")
        return make_denoising()

    jobs = [
        Job[None](prepare=prepare, finish=lambda _: events.append("finish"), rows=2, size=(8, 8), steps=4)
        for _ in range(5)
    ]
    unet = FalseUNet()
    engine = make_engine(unet, max_rows=4)
    for job in jobs:
        engine.submit(job)
    assert (engine.stats.waiting, engine.stats.running) == (5, 0)
    with engine:
        for job in jobs:
            job.future.result(TIMEOUT_S)
    assert unet.rows == [4] * 4 + [4] * 4 + [2] * 4
    pair = ["prepare", "prepare", "finish", "finish"]
    assert events == [*pair, *pair, "prepare", "finish"]


def test_a_job_without_steps_goes_straight_to_its_finish() -> None:
    job = make_job(seed=3, steps=0)
    unet = FalseUNet()
    with make_engine(unet) as engine:
        engine.submit(job)
        assert torch.equal(job.future.result(TIMEOUT_S), make_denoising(seed=3, steps=0).latents)
    assert unet.calls == []


def test_on_step_tells_the_steps_done_and_all_callables_run_on_the_engines_thread() -> None:
    threads: set[str] = set()
    steps: list[tuple[int, int]] = []

    def note(value: Any) -> Any:
        threads.add(threading.current_thread().name)
        assert torch.is_inference_mode_enabled()
        return value

    job = Job[str](
        prepare=lambda: note(make_denoising(steps=3)),
        finish=lambda latents: note(f"picture of {list(latents.shape)}"),
        rows=2,
        size=(8, 8),
        steps=3,
        on_step=lambda done, total: steps.append(note((done, total))),
    )
    with make_engine(FalseUNet(before=note)) as engine:
        engine.submit(job)
        assert job.future.result(TIMEOUT_S) == "picture of [1, 4, 8, 8]"
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert threads == {"stepbatch-engine"}


def test_timings_are_in_milliseconds_of_the_engines_clock() -> None:
    clock = {"now": 100.0}

    def passing(seconds: float, value: Any) -> Any:
        clock["now"] += seconds
        return value

    job = Job[str](
        prepare=lambda: passing(0.25, make_denoising(steps=2)),
        finish=lambda _: passing(0.125, "picture"),
        rows=2,
        size=(8, 8),
        steps=2,
    )
    unet = FalseUNet(before=lambda _: passing(0.5, None))
    engine = Engine(
        OneModel(unet), FirstComeFirstServed(max_rows=8), max_jobs=1, seconds_per_work=1.0, clock=lambda: clock["now"]
    )
    engine.submit(job)
    clock["now"] += 2.0
    with engine:
        job.future.result(TIMEOUT_S)
    timings = job.timings
    assert (timings.queue_ms, timings.prepare_ms, timings.denoise_ms, timings.finish_ms) == (
        2000.0,
        250.0,
        1000.0,
        125.0,
    )


def test_stats_count_an_ended_job_before_its_future_is_resolved() -> None:
    jobs = [make_job(steps=2), make_job(steps=2, rows=1)]
    engine = make_engine(FalseUNet())
    seen: Future[Any] = Future()
    jobs[1].future.add_done_callback(lambda _: seen.set_result(engine.stats))
    for job in jobs:
        engine.submit(job)
    with engine:
        stats = seen.result(TIMEOUT_S)
    assert (stats.ticks, stats.rows, stats.done, stats.waiting, stats.running) == (2, 6, 2, 0, 0)


def test_a_futures_callback_may_submit_the_next_job() -> None:
    first, second = make_job(seed=1), make_job(seed=2)
    engine = make_engine(FalseUNet(), max_jobs=1)
    first.future.add_done_callback(lambda _: engine.submit(second))
    with engine:
        engine.submit(first)
        assert second.future.result(TIMEOUT_S).shape == (1, 4, 8, 8)


def test_asyncio_callers_can_await_a_job() -> None:
    async def call(engine: Engine) -> list[torch.Tensor]:
        jobs = [make_job(seed=seed) for seed in range(3)]
        for job in jobs:
            engine.submit(job)
        return await asyncio.gather(*(asyncio.wrap_future(job.future) for job in jobs))

    with make_engine(FalseUNet()) as engine:
        assert len(asyncio.run(asyncio.wait_for(call(engine), TIMEOUT_S))) == 3


def test_an_idle_engine_does_other_things_until_they_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepbatch.engine.IDLE_S", 0.01)
    over = threading.Event()
    called: list[int] = []

    def when_idle() -> bool:
        called.append(len(called))
        if len(called) == 3:
            over.set()
        return len(called) < 3

    with make_engine(FalseUNet(), when_idle=when_idle) as engine:
        assert over.wait(TIMEOUT_S)
        for seed in range(2):
            job = make_job(seed=seed)
            engine.submit(job)
            job.future.result(TIMEOUT_S)
        wait_until(lambda: len(called) > 3)  # once more after a job, if that is later
        time.sleep(0.1)
    assert len(called) <= 5


def test_an_engine_with_jobs_does_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepbatch.engine.IDLE_S", 0.0)
    done_at: list[int] = []

    def when_idle() -> bool:
        done_at.append(engine.stats.done)
        return False

    job = make_job(steps=5)
    engine: Engine = make_engine(FalseUNet(), when_idle=when_idle)
    engine.submit(job)
    with engine:
        job.future.result(TIMEOUT_S)
        wait_until(lambda: bool(done_at))
    assert done_at == [1]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
