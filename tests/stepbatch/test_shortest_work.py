"""Shortest remaining work first, with aging: the rules, and the bound, under a false clock and a false machine."""

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbatch.contexts import ANY_CONTEXTS, ContextLimit
from stepbatch.engine import Engine
from stepbatch.job import Job, Phase
from stepbatch.models import OneModel
from stepbatch.policy import Policy, RowLimit, ShortestRemainingWork, reason_to_wait
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, make_job

SMALL, LARGE = (1, 1), (2, 2)
LIMIT = RowLimit(rows=4, pixels=1)


def policy(
    patience: float = 1.0, *, limit: RowLimit = LIMIT, contexts: ContextLimit = ANY_CONTEXTS
) -> ShortestRemainingWork:
    return ShortestRemainingWork(limit=limit, patience=patience, low_priority_s=100.0, contexts=contexts)


def job_at(
    arrival: float = 0.0,
    *,
    steps: int = 4,
    prepared: bool = True,
    size: tuple[int, int] = SMALL,
    rows: int = 2,
    tokens: int = 3,
    low: bool = False,
) -> Job[Any]:
    job = make_job(steps=steps, size=size, rows=rows, tokens=tokens, is_low_priority=low, finish_work=1.0)
    job.submitted_at = arrival
    if prepared:
        job.enter_denoising()
    return job


def test_the_job_with_the_least_work_left_leads() -> None:
    jobs = [job_at(steps=50), job_at(steps=8), job_at(steps=30)]
    assert policy(limit=RowLimit(rows=2)).choose(jobs) == [jobs[1]]


def test_work_done_counts_no_more() -> None:
    jobs = [job_at(steps=8), job_at(steps=9)]
    for _ in range(2):
        jobs[1].denoising.advance(jobs[1].denoising.latents)
    assert policy(limit=RowLimit(rows=2)).choose(jobs) == [jobs[1]]


def test_work_counts_rows_pixels_and_the_finish() -> None:
    assert job_at(steps=3, rows=2, size=LARGE).remaining_work == 3 * 2 * 4 + 1.0
    assert job_at(steps=3, rows=1, prepared=False).remaining_work == 3 + 1.0
    assert job_at(steps=0).remaining_work == 1.0


def test_who_has_waited_long_enough_goes_before_shorter_work() -> None:
    """50 steps of two rows are due 92 s later than 4 steps are, at a patience of 1."""
    long = job_at(0.0, steps=50)
    assert policy(limit=RowLimit(rows=2)).choose([long, job_at(91.0, steps=4)]) != [long]
    assert policy(limit=RowLimit(rows=2)).choose([long, job_at(93.0, steps=4)]) == [long]


def test_without_patience_arrival_alone_decides() -> None:
    jobs = [job_at(1.0, steps=50), job_at(2.0, steps=1)]
    assert policy(0.0, limit=RowLimit(rows=2)).choose(jobs) == [jobs[0]]


def test_low_priority_yields_and_is_not_forgotten() -> None:
    bulk = job_at(0.0, low=True)
    assert policy(limit=RowLimit(rows=2)).choose([bulk, job_at(99.0)]) != [bulk]
    assert policy(limit=RowLimit(rows=2)).choose([bulk, job_at(101.0)]) == [bulk]


def test_others_of_the_leaders_size_go_along_while_there_are_rows() -> None:
    jobs = [job_at(steps=9), job_at(steps=1), job_at(steps=2, size=LARGE), job_at(steps=7, rows=1), job_at(steps=8)]
    assert policy(limit=RowLimit(rows=3)).choose(jobs) == [jobs[1], jobs[3]]
    assert policy(limit=RowLimit(rows=8)).choose(jobs) == [jobs[0], jobs[1], jobs[3], jobs[4]]


def test_company_is_prepared_before_the_tick_but_only_what_has_a_row() -> None:
    jobs = [job_at(steps=1), job_at(steps=2, prepared=False), job_at(steps=3, prepared=False)]
    assert policy(limit=RowLimit(rows=4)).choose(jobs) == [jobs[1]]
    jobs[1].enter_denoising()
    assert policy(limit=RowLimit(rows=4)).choose(jobs) == jobs[:2]


def test_a_finish_waits_its_turn_like_other_work() -> None:
    finished, short = job_at(10.0, steps=0), job_at(0.0, steps=1)
    assert policy().choose([short, finished]) == [short]
    assert policy().choose([job_at(0.0, steps=20), finished]) == [finished]


@pytest.mark.parametrize(("pixels", "rows"), [(1, 4), (2, 2), (3, 1), (16, 1)])
def test_larger_latents_have_fewer_rows_in_a_tick(pixels: int, rows: int) -> None:
    assert LIMIT.at(pixels) == rows
    assert RowLimit(rows=4).at(pixels) == 4


def test_the_reasons_to_wait() -> None:
    small, large = job_at(), job_at(size=LARGE)
    assert reason_to_wait(small, Phase.DENOISE, [large]) == "size"
    assert reason_to_wait(small, Phase.DENOISE, [job_at()]) == "rows"
    assert reason_to_wait(small, Phase.PREPARE, [large]) == "prepare"
    assert reason_to_wait(small, Phase.FINISH, [large]) == "finish"


@dataclass
class Machine:
    """Does what a policy chooses, on a clock of its own: a tick takes 0.2 s and 0.1 s for each row's pixel."""

    policy: Policy
    now: float = 0.0

    def work(self, jobs: list[Job[Any]]) -> list[Job[Any]]:
        chosen = self.policy.choose(jobs)
        match chosen[0].phase:
            case Phase.PREPARE:
                chosen[0].enter_denoising()
                self.now += 0.05
            case Phase.DENOISE:
                for job in chosen:
                    job.denoising.advance(job.denoising.latents)
                self.now += 0.2 + 0.1 * sum(job.rows * job.pixels for job in chosen)
            case _:
                chosen[0].end()
                self.now += 0.3
        return chosen


@given(
    seed=st.integers(0, 2**32),
    patience=st.sampled_from([0.0, 0.3, 3.0]),
    gap_s=st.floats(0.3, 4.0),
    rows=st.integers(2, 12),
    contexts=st.sampled_from([6, 2, None]).map(lambda tokens: ContextLimit(tokens=tokens)),
)
@settings(max_examples=80)
def test_nobody_starves(seed: int, patience: float, gap_s: float, rows: int, contexts: ContextLimit) -> None:
    """The bound of `ShortestRemainingWork`, over thousands of random arrivals, at loads from light to far too much."""
    dice = random.Random(seed)
    shortest = policy(patience, limit=RowLimit(rows=rows, pixels=1), contexts=contexts)
    machine = Machine(shortest)
    coming, at = [], 0.0
    for _ in range(60):
        at += dice.expovariate(1 / gap_s)
        job = job_at(
            at,
            steps=dice.choice([1, 3, 8]),
            rows=dice.choice([1, 2]),
            size=dice.choice([SMALL, SMALL, LARGE]),
            tokens=dice.choice([1, 1, 1, 2, 3, 4, 7]),
            prepared=False,
            low=dice.random() < 0.2,
        )
        coming.append(job)
    everyone = list(coming)
    due = {id(job): shortest.due(job) for job in coming}  # on arrival, which is as late as it gets
    ended: dict[int, float] = {}
    held: list[Job[Any]] = []
    while coming or held:
        if not held:
            machine.now = max(machine.now, coming[0].submitted_at)
        while coming and coming[0].submitted_at <= machine.now:
            held.append(coming.pop(0))
        chosen = machine.work(held)
        rows_chosen = [job.rows * job.pixels for job in chosen]
        assert contexts.allows([job.context_tokens or 1 for job in chosen]) or len(chosen) == 1
        assert sum(rows_chosen) <= max(rows, 2 * 4), "more than the limit, and more than one large picture"
        ended |= {id(job): machine.now for job in held if job.phase is Phase.ENDED}
        held = [job for job in held if job.phase is not Phase.ENDED]
    longest_tick_s = 0.2 + 0.1 * max(rows, 2 * 4)
    for job in everyone:
        before = [other for other in everyone if other.submitted_at <= due[id(job)]]
        theirs_s = sum(other.steps * longest_tick_s + 0.3 for other in before)
        assert ended[id(job)] <= due[id(job)] + theirs_s + 0.05 * len(everyone)


def test_the_place_and_the_forecast_go_by_who_goes_first() -> None:
    """Before the engine has begun: what a long job is told changes with a short one that comes after it."""
    engine = Engine(OneModel(FalseUNet()), policy(), max_jobs=3, seconds_per_work=2.0)
    long, short, last = (make_job(rows=2, size=SMALL, steps=steps) for steps in (10, 3, 20))
    engine.submit(long)
    assert (engine.place(long), engine.forecast_s(long)) == (0, 2.0 * 20)
    engine.submit(short)
    assert (engine.place(short), engine.forecast_s(short, further_work=5.0)) == (0, 2.0 * (6 + 5))
    assert (engine.place(long), engine.forecast_s(long)) == (1, 2.0 * (6 + 20))
    engine.submit(last)
    assert (engine.place(last), engine.forecast_s(last)) == (2, 2.0 * (6 + 20 + 40))
    with engine:
        for job in (long, short, last):
            job.future.result(TIMEOUT_S)
            assert engine.place(job) is None
