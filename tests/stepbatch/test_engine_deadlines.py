"""Time limits, what an observer is told, and the pace by which a full engine says when to come back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from stepbatch.engine import Engine
from stepbatch.errors import DeadlinePassed, EngineError, QueueFull
from stepbatch.job import Job, Phase
from stepbatch.models import OneModel
from stepbatch.observer import Outcome
from stepbatch.pace import Pace
from stepbatch.policy import RowLimit, ShortestRemainingWork
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, make_job

POLICY = ShortestRemainingWork(limit=RowLimit(rows=4), patience=0.0, low_priority_s=0.0)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Witness:
    work: list[tuple[Phase, int, int, float]] = field(default_factory=list)  # phase, chosen, waiting, seconds
    rows: list[int] = field(default_factory=list)  # of each tick
    held: list[tuple[int, int]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def worked(
        self, phase: Phase, chosen: Sequence[Job[Any]], waiting: Sequence[Job[Any]], seconds: float, rows: int
    ) -> None:
        if phase is Phase.DENOISE:
            self.rows.append(rows)
        self.work.append((phase, len(chosen), len(waiting), seconds))

    def rested(self, waiting: Sequence[Job[Any]], seconds: float) -> None:
        raise AssertionError(f"no model has to come: {waiting}, {seconds}")

    def jobs_held(self, waiting: int, running: int) -> None:
        self.held.append((waiting, running))

    def ended(self, job: Job[Any], outcome: Outcome) -> None:
        assert job.phase is Phase.ENDED
        self.outcomes.append(outcome)


def make_engine(unet: FalseUNet, clock: Clock, witness: Witness | None = None, max_jobs: int = 8) -> Engine:
    return Engine(OneModel(unet), POLICY, max_jobs=max_jobs, seconds_per_work=0.01, observer=witness, clock=clock)


def test_a_job_is_not_begun_once_its_time_is_over() -> None:
    clock, unet, witness = Clock(), FalseUNet(), Witness()
    engine = make_engine(unet, clock, witness)
    late, sound = make_job(time_limit_s=5.0), make_job(time_limit_s=6.0)
    engine.submit(late)
    engine.submit(sound)
    clock.now += 5.0
    with engine:
        with pytest.raises(DeadlinePassed, match="within 5 s"):
            late.future.result(TIMEOUT_S)
        sound.future.result(TIMEOUT_S)
    assert set(unet.rows) == {2}
    assert sorted(witness.outcomes) == ["done", "late"]
    assert (engine.stats.late, engine.stats.failed, engine.stats.done) == (1, 0, 1)


def test_a_job_is_stopped_at_a_tick_once_its_time_is_over() -> None:
    clock = Clock()

    def pass_time(_: int) -> None:
        clock.now += 1.0

    unet = FalseUNet(before=pass_time)
    job = make_job(steps=50, time_limit_s=3.0)
    with make_engine(unet, clock) as engine:
        engine.submit(job)
        with pytest.raises(DeadlinePassed):
            job.future.result(TIMEOUT_S)
    assert unet.rows == [2, 2, 2]


def test_the_observer_is_told_of_all_work_who_waited_and_how_jobs_ended() -> None:
    clock, witness = Clock(), Witness()

    def pass_time(_: int) -> None:
        clock.now += 0.5

    engine = make_engine(FalseUNet(before=pass_time), clock, witness)
    # Four rows a tick: two of them at once.
    jobs = [make_job(steps=2), make_job(steps=2), make_job(steps=2, guided_steps=1)]
    for job in jobs:
        engine.submit(job)
    assert witness.held == [(1, 0), (2, 0), (3, 0)]
    with engine:
        for job in jobs:
            job.future.result(TIMEOUT_S)
    ticks = [entry for entry in witness.work if entry[0] is Phase.DENOISE]
    assert ticks == [(Phase.DENOISE, 2, 1, 0.5)] * 2 + [(Phase.DENOISE, 1, 0, 0.5)] * 2
    assert witness.rows == [4, 4, 2, 1], "counted as they were in the tick"
    assert sum(phase is Phase.PREPARE for phase, *_ in witness.work) == 3
    assert sum(phase is Phase.FINISH for phase, *_ in witness.work) == 3
    assert witness.outcomes == ["done"] * 3
    assert witness.held[-1] == (0, 0)


def test_a_full_engine_says_how_long_its_jobs_will_take() -> None:
    clock = Clock()
    engine = make_engine(FalseUNet(), clock, max_jobs=2)
    jobs = [make_job(steps=5, size=(8, 8)), make_job(steps=10, size=(8, 8))]
    for job in jobs:
        engine.submit(job)
    with pytest.raises(QueueFull) as refused:
        engine.submit(make_job())
    assert refused.value.retry_after_s == pytest.approx(0.01 * (5 + 10) * 2 * 64)
    engine.stop()


def test_the_pace_follows_what_is_measured() -> None:
    pace = Pace(1.0)
    for _ in range(200):
        pace.add(work=10.0, seconds=40.0)
    assert pace.seconds(2.0) == pytest.approx(8.0, rel=0.01)
    pace.add(work=0.0, seconds=40.0)  # nothing done says nothing of the pace
    assert pace.seconds(2.0) == pytest.approx(8.0, rel=0.01)


def test_a_pace_begins_somewhere() -> None:
    with pytest.raises(EngineError, match="positive"):
        Pace(0.0)
