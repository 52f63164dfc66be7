"""How much an engine takes, when it stops, and what it leaves behind."""

import threading
import time
import weakref

import pytest
import torch

from stepbatch.denoising import Denoising
from stepbatch.engine import Engine
from stepbatch.errors import EngineStopped, QueueFull
from stepbatch.job import Job
from stepbatch.models import OneModel
from stepbatch.policy import FirstComeFirstServed
from tests.stepbatch.fakes import (
    TIMEOUT_S,
    FalseUNet,
    make_denoising,
    make_engine,
    make_job,
)


def test_a_full_engine_refuses_at_once_and_has_room_again_when_a_job_ends() -> None:
    engine = make_engine(FalseUNet(), max_jobs=2)
    jobs = [make_job(seed=i) for i in range(3)]
    engine.submit(jobs[0])
    engine.submit(jobs[1])
    with pytest.raises(QueueFull, match="2 jobs, allowed 2; 2 have not begun") as refused:
        engine.submit(jobs[2])
    assert (refused.value.waiting, refused.value.max_jobs) == (2, 2)
    with engine:
        for job in jobs[:2]:
            job.future.result(TIMEOUT_S)
        engine.submit(jobs[2])
        jobs[2].future.result(TIMEOUT_S)


def test_the_number_waiting_leaves_out_those_that_have_begun() -> None:
    refused: list[QueueFull] = []

    def overfill(call: int) -> None:
        if call == 1:
            for _ in range(2):
                engine.submit(make_job())
            with pytest.raises(QueueFull) as caught:
                engine.submit(make_job())
            refused.append(caught.value)

    job = make_job()
    engine = make_engine(FalseUNet(before=overfill), max_jobs=3)
    with engine:
        engine.submit(job)
        job.future.result(TIMEOUT_S)
    assert [error.waiting for error in refused] == [2]


def test_a_job_is_submitted_once() -> None:
    job = make_job()
    engine = make_engine(FalseUNet())
    engine.submit(job)
    with pytest.raises(ValueError, match="once"):
        engine.submit(job)
    with engine:
        job.future.result(TIMEOUT_S)
        with pytest.raises(ValueError, match="once"):
            engine.submit(job)


def test_stop_lets_the_tick_in_hand_end_and_resolves_every_future() -> None:
    ticking, others = threading.Event(), set(threading.enumerate())
    unet = FalseUNet(before=lambda _: ticking.set())
    engine = make_engine(unet, max_rows=4)
    jobs = [make_job(steps=100_000) for _ in range(5)]
    engine.start()
    for job in jobs:
        engine.submit(job)
    assert ticking.wait(TIMEOUT_S)
    engine.stop()
    for job in jobs:
        with pytest.raises(EngineStopped, match="before the job ended"):
            job.future.result(timeout=0)
    assert (engine.stats.failed, engine.stats.waiting, engine.stats.running) == (5, 0, 0)
    assert set(threading.enumerate()) <= others
    with pytest.raises(EngineStopped, match="takes no more"):
        engine.submit(make_job())
    engine.stop()


def test_an_engine_that_never_started_resolves_its_futures_too() -> None:
    engine = make_engine(FalseUNet())
    jobs = [make_job(), make_job()]
    for job in jobs:
        engine.submit(job)
    jobs[1].cancel()
    engine.stop()
    assert isinstance(jobs[0].future.exception(timeout=0), EngineStopped)
    assert (engine.stats.failed, engine.stats.cancelled) == (1, 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_whose_own_thread_dies_leaves_no_future_unresolved() -> None:
    readings = iter([1.0, 2.0])  # for two submissions; then the clock fails, which no job is to blame for
    engine = Engine(
        OneModel(FalseUNet()),
        FirstComeFirstServed(max_rows=8),
        max_jobs=4,
        seconds_per_work=1.0,
        clock=lambda: next(readings),
    )
    jobs = [make_job(), make_job()]
    for job in jobs:
        engine.submit(job)
    with engine:
        for job in jobs:
            assert isinstance(job.future.exception(TIMEOUT_S), EngineStopped)
        with pytest.raises(EngineStopped):
            engine.submit(make_job())


def test_an_idle_engine_uses_no_cpu() -> None:
    others = set(threading.enumerate())
    with make_engine(FalseUNet()) as engine:
        for _ in range(2):  # before the first job as after it
            (thread,) = set(threading.enumerate()) - others
            assert thread.ident is not None
            cpu_clock = time.pthread_getcpuclockid(thread.ident)
            begun_s = time.clock_gettime(cpu_clock)
            threading.Event().wait(0.3)
            assert time.clock_gettime(cpu_clock) - begun_s < 0.05
            job = make_job()
            engine.submit(job)
            job.future.result(TIMEOUT_S)


def test_an_ended_job_lets_go_of_its_tensors_however_long_it_is_kept() -> None:
    states: list[weakref.ref[Denoising]] = []

    def prepare() -> Denoising:
        state = make_denoising()
        states.append(weakref.ref(state))
        return state

    def first_state_is_gone(_: torch.Tensor) -> bool:
        return states[0]() is None

    jobs = [Job[bool](prepare=prepare, finish=first_state_is_gone, rows=2, size=(8, 8), steps=4) for _ in range(2)]
    with make_engine(FalseUNet()) as engine:
        results = []
        for job in jobs:
            engine.submit(job)
            results.append(job.future.result(TIMEOUT_S))
    assert results == [False, True]


def test_an_engine_is_stuck_only_while_a_piece_of_work_takes_long() -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    def hang(call: int) -> None:
        if call == 2:
            begun.set()
            may_go_on.wait(TIMEOUT_S)

    with make_engine(FalseUNet(before=hang)) as engine:
        assert engine.stuck_s == 0
        job = make_job()
        engine.submit(job)
        assert begun.wait(TIMEOUT_S)
        time.sleep(0.2)
        assert 0.2 <= engine.stuck_s < TIMEOUT_S
        may_go_on.set()
        job.future.result(TIMEOUT_S)
        assert engine.stuck_s == 0
