"""One bad job fails alone: every job here has company, which must get its usual result."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
import torch
from torch import Tensor

from stepbatch.denoising import Denoising
from stepbatch.engine import Engine
from stepbatch.errors import EngineError, NonFiniteLatents
from stepbatch.job import Job
from stepbatch.models import OneModel
from tests.stepbatch.fakes import (
    TIMEOUT_S,
    BrokenSampler,
    FalseUNet,
    denoise_alone,
    make_denoising,
    make_engine,
    make_job,
)


class Boom(Exception):
    pass


class BaseBoom(BaseException):
    pass


def raise_(error: BaseException) -> Any:
    raise error


def bad_prepare(error: BaseException) -> Job[Any]:
    return Job(prepare=lambda: raise_(error), finish=lambda latents: latents, rows=2, size=(8, 8), steps=4)


def bad_finish(error: BaseException) -> Job[Any]:
    return Job(prepare=make_denoising, finish=lambda _: raise_(error), rows=2, size=(8, 8), steps=4)


def bad_on_step(error: BaseException) -> Job[Any]:
    return make_job(on_step=lambda done, _: raise_(error) if done == 2 else None)


def bad_step(error: BaseException) -> Job[Any]:
    return make_job(sampler=BrokenSampler(4, error=error, where="step", at_step=1))


def bad_scaling(error: BaseException) -> Job[Any]:
    return make_job(sampler=BrokenSampler(4, error=error, where="scale_model_input", at_step=1))


def run_in_company(bad: Job[Any], unet: FalseUNet) -> Engine:
    """Run `bad` between an older and a younger job, and one that comes after it has failed."""
    company = [make_job(seed=1, steps=5), make_job(seed=2, steps=5)]
    engine = make_engine(unet)
    for job in (company[0], bad, company[1]):
        engine.submit(job)
    with engine:
        for seed, job in enumerate(company, start=1):
            got = job.future.result(TIMEOUT_S)
            assert torch.equal(got, denoise_alone(make_denoising(seed=seed, steps=5), FalseUNet()))
        late = make_job()
        engine.submit(late)
        late.future.result(TIMEOUT_S)
    assert (engine.stats.done, engine.stats.failed) == (3, 1)
    return engine


BAD_JOBS = [bad_prepare, bad_scaling, bad_step, bad_on_step, bad_finish]


@pytest.mark.parametrize("make_bad", BAD_JOBS)
def test_an_error_in_a_jobs_own_code_fails_that_job_alone(
    make_bad: Callable[[BaseException], Job[Any]],
) -> None:
    error = Boom()
    bad = make_bad(error)
    run_in_company(bad, FalseUNet())
    assert bad.future.exception(timeout=0) is error


@pytest.mark.parametrize("make_bad", BAD_JOBS)
@pytest.mark.parametrize("error", [BaseBoom(), KeyboardInterrupt(), SystemExit(1)])
def test_the_loop_survives_what_is_no_exception(
    make_bad: Callable[[BaseException], Job[Any]], error: BaseException
) -> None:
    bad = make_bad(error)
    run_in_company(bad, FalseUNet())
    failure = bad.future.exception(timeout=0)
    assert isinstance(failure, EngineError)
    assert failure.__cause__ is error


def test_nan_fails_its_own_job_after_its_last_step() -> None:
    def prepare() -> Denoising:
        state = make_denoising(steps=3)
        state.latents[0, 1, 2, 3] = float("nan")
        return state

    finished: list[Tensor] = []
    bad = Job[None](prepare=prepare, finish=finished.append, rows=2, size=(8, 8), steps=4)
    run_in_company(bad, FalseUNet())
    assert isinstance(bad.future.exception(timeout=0), NonFiniteLatents)
    assert finished == []


def test_a_preparation_with_other_rows_than_admitted_fails_its_own_job() -> None:
    bad = Job[Tensor](prepare=make_denoising, finish=lambda latents: latents, rows=1, size=(8, 8), steps=4)
    run_in_company(bad, FalseUNet())
    assert isinstance(bad.future.exception(timeout=0), ValueError)


def test_an_error_of_the_unet_fails_the_jobs_of_its_tick_and_no_others() -> None:
    error = Boom("out of memory")
    jobs = [make_job(seed=i, size=size) for i, size in enumerate([(8, 8), (8, 8), (8, 16)])]
    unet = FalseUNet(before=lambda call: raise_(error) if call == 2 else None)
    engine = make_engine(unet)
    for job in jobs:
        engine.submit(job)
    with engine:
        assert [job.future.exception(TIMEOUT_S) for job in jobs] == [error, error, None]
    assert unet.rows == [4, 4] + [2] * 4
    assert (engine.stats.done, engine.stats.failed) == (1, 2)


class UselessPolicy:
    """Answers whatever `answer` returns."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def choose(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        assert jobs
        return self.answer()

    def in_turn(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        return list(jobs)


@pytest.mark.parametrize(
    "answer",
    [list, lambda: raise_(Boom()), lambda: raise_(BaseBoom()), lambda: None],
    ids=["empty", "raises", "raises what is no Exception", "none"],
)
def test_under_a_useless_policy_the_oldest_job_goes_on_alone(
    answer: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    unet = FalseUNet()
    engine = Engine(OneModel(unet), UselessPolicy(answer), max_jobs=4, seconds_per_work=1.0)
    jobs = [make_job(seed=1, steps=2), make_job(seed=2, steps=2)]
    for job in jobs:
        engine.submit(job)
    with caplog.at_level(logging.ERROR), engine:
        for job in jobs:
            job.future.result(TIMEOUT_S)
    assert [call.pooled for call in unet.calls] == [[1.0, 1.0]] * 2 + [[2.0, 2.0]] * 2
    assert len(caplog.records) == 8, "one for each piece of work: prepare, two ticks, finish"
    assert "tensor" not in caplog.text


def test_a_callback_that_raises_does_not_end_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    def bad_callback(_: Future[Any]) -> None:
        raise BaseBoom

    jobs = [make_job(), make_job()]
    jobs[0].future.add_done_callback(bad_callback)
    with make_engine(FalseUNet()) as engine:
        for job in jobs:
            engine.submit(job)
            job.future.result(TIMEOUT_S)
    assert "callback" in caplog.text
    assert engine.stats.done == 2
