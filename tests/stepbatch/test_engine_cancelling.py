import asyncio
import threading
from concurrent.futures import CancelledError

import pytest
from torch import Tensor

from stepbatch.denoising import Denoising
from stepbatch.job import Job, Phase
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, make_denoising, make_engine, make_job


def test_a_job_cancelled_while_it_waits_is_never_prepared() -> None:
    prepared = threading.Event()

    def prepare() -> Denoising:
        prepared.set()
        return make_denoising()

    cancelled: Job[Tensor] = Job(prepare=prepare, finish=lambda latents: latents, rows=2, size=(8, 8), steps=4)
    other = make_job()
    engine = make_engine(FalseUNet())
    engine.submit(cancelled)
    engine.submit(other)
    cancelled.cancel()
    with engine:
        other.future.result(TIMEOUT_S)
    assert not prepared.is_set()
    assert cancelled.future.cancelled()
    assert (engine.stats.cancelled, engine.stats.done) == (1, 1)


def test_a_job_cancelled_in_its_preparation_never_ticks() -> None:
    def prepare() -> Denoising:
        cancelled.cancel()
        return make_denoising(seed=1)

    cancelled: Job[Tensor] = Job(prepare=prepare, finish=lambda latents: latents, rows=2, size=(8, 8), steps=4)
    other = make_job(seed=2, steps=3)
    unet = FalseUNet()
    engine = make_engine(unet)
    engine.submit(cancelled)
    engine.submit(other)
    with engine:
        other.future.result(TIMEOUT_S)
    assert [call.pooled for call in unet.calls] == [[2.0, 2.0]] * 3
    assert cancelled.phase is Phase.ENDED


def test_a_job_cancelled_in_a_tick_is_not_in_the_next_and_its_company_goes_on() -> None:
    cancelled, other = make_job(seed=1, steps=6), make_job(seed=2, steps=4)

    def cancel(call: int) -> None:
        if call == 2:
            cancelled.cancel()

    unet = FalseUNet(before=cancel)
    engine = make_engine(unet)
    engine.submit(cancelled)
    engine.submit(other)
    with engine:
        other.future.result(TIMEOUT_S)
    assert unet.rows == [4, 4, 2, 2]
    with pytest.raises(CancelledError):
        cancelled.future.result(timeout=0)


def test_a_job_cancelled_in_its_last_tick_is_not_finished() -> None:
    finished: list[Tensor] = []
    cancelled: Job[None] = Job(
        prepare=lambda: make_denoising(steps=2), finish=finished.append, rows=2, size=(8, 8), steps=4
    )
    other = make_job(steps=3)
    engine = make_engine(FalseUNet(before=lambda call: cancelled.cancel() if call == 2 else None))
    engine.submit(cancelled)
    engine.submit(other)
    with engine:
        other.future.result(TIMEOUT_S)
    assert finished == []
    assert engine.stats.cancelled == 1


def test_a_job_cancelled_in_its_finish_is_cancelled() -> None:
    def finish(_: Tensor) -> str:
        cancelled.cancel()
        return "picture"

    cancelled: Job[str] = Job(prepare=make_denoising, finish=finish, rows=2, size=(8, 8), steps=4)
    with make_engine(FalseUNet()) as engine:
        engine.submit(cancelled)
        with pytest.raises(CancelledError):
            cancelled.future.result(TIMEOUT_S)
        other = make_job()
        engine.submit(other)
        other.future.result(TIMEOUT_S)
    assert (engine.stats.cancelled, engine.stats.done, engine.stats.failed) == (1, 1, 0)


def test_a_job_whose_failure_comes_after_its_cancelling_counts_as_cancelled() -> None:
    def prepare() -> Denoising:
        cancelled.cancel()
        raise ValueError

    cancelled: Job[Tensor] = Job(prepare=prepare, finish=lambda latents: latents, rows=2, size=(8, 8), steps=4)
    other = make_job()
    engine = make_engine(FalseUNet())
    engine.submit(cancelled)
    engine.submit(other)
    with engine:
        other.future.result(TIMEOUT_S)
    assert (engine.stats.cancelled, engine.stats.failed) == (1, 0)


def test_cancelling_an_ended_job_changes_nothing() -> None:
    job = make_job()
    with make_engine(FalseUNet()) as engine:
        engine.submit(job)
        result = job.future.result(TIMEOUT_S)
        job.cancel()
    assert job.future.result(timeout=0) is result
    assert engine.stats.cancelled == 0


def test_a_caller_whose_task_is_cancelled_cancels_its_job() -> None:
    async def give_up() -> None:
        loop = asyncio.get_running_loop()
        ticking = asyncio.Event()

        def tell(*_: int) -> None:
            loop.call_soon_threadsafe(ticking.set)

        endless = make_job(steps=100_000, on_step=tell)
        engine.submit(endless)
        waiting = asyncio.wrap_future(endless.future)
        await ticking.wait()
        waiting.cancel()
        other = make_job(size=(8, 16))  # cannot tick before the endless job has left
        engine.submit(other)
        await asyncio.wrap_future(other.future)
        assert endless.phase is Phase.ENDED

    with make_engine(FalseUNet()) as engine:
        asyncio.run(asyncio.wait_for(give_up(), TIMEOUT_S))
        assert engine.stats.cancelled == 1


class LongUNet(FalseUNet):
    """Its first tick lasts until it is told to end early."""

    def __init__(self) -> None:
        super().__init__(before=self._wait)
        self.is_at_work = threading.Event()
        self.told: list[bool] = []
        self._may_end = threading.Event()

    def end_early(self, is_wanted: bool) -> None:
        self.told.append(is_wanted)
        self._may_end.set()

    def _wait(self, call: int) -> None:
        if call == 1:
            self.is_at_work.set()
            assert self._may_end.wait(TIMEOUT_S)
            raise RuntimeError("it ends early")


def test_a_tick_that_nobody_waits_for_ends_early() -> None:
    unet, jobs = LongUNet(), [make_job(seed=seed) for seed in (1, 2)]
    engine = make_engine(unet, end_early=unet.end_early)
    for job in jobs:
        engine.submit(job)
    with engine:
        assert unet.is_at_work.wait(TIMEOUT_S)
        jobs[0].cancel()
        assert unet.told == [], "the other one still waits"
        jobs[1].cancel()
        other = make_job(seed=3, steps=4)
        engine.submit(other)
        other.future.result(TIMEOUT_S)
        forecast_s = engine.forecast_s(make_job(seed=4))
    assert unet.told == [True, False]
    assert (engine.stats.cancelled, engine.stats.done, engine.stats.failed) == (2, 1, 0)
    assert forecast_s > 0, "half a tick says nothing of the pace"


@pytest.mark.parametrize("phase", ["prepare", "finish"])
def test_so_does_a_preparation_and_a_finish(phase: str) -> None:
    told: list[bool] = []
    may_end = threading.Event()

    def end_early(is_wanted: bool) -> None:
        told.append(is_wanted)
        may_end.set()

    def prepare() -> Denoising:
        if phase == "prepare":
            job.cancel()
            assert may_end.wait(TIMEOUT_S)
        return make_denoising(steps=2)

    def finish(latents: Tensor) -> Tensor:
        job.cancel()
        assert may_end.wait(TIMEOUT_S)
        return latents

    job: Job[Tensor] = Job(prepare=prepare, finish=finish, rows=2, size=(8, 8), steps=2)
    with make_engine(FalseUNet(), end_early=end_early) as engine:
        engine.submit(job)
        other = make_job(seed=2)
        engine.submit(other)
        other.future.result(TIMEOUT_S)
    assert told == [True, False]
    assert engine.stats.cancelled == 1
