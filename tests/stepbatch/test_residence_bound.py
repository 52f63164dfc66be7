"""The bound on overtaking where models have to be loaded, and make room for each other; on a false clock."""

import random
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stepbatch.job import Job, Need, Phase
from stepbatch.policy import RowLimit, ShortestRemainingWork
from stepbatch.residence import Loaded, Residence
from tests.stepbatch.fakes import make_job
from tests.stepbatch.loads import FalseLoader

LOAD_S, TICK_S, ROWS = 5.0, 0.3, 4


@dataclass
class TimedLoader(FalseLoader):
    """A load takes 5 s of the machine's clock."""

    done_at: dict[Need, float] = field(default_factory=dict)
    now: float = 0.0

    def load(self, need: Need) -> Future[Loaded]:
        self.done_at[need] = self.now + LOAD_S
        return super().load(need)

    def seconds(self, need: Need) -> float:  # noqa: ARG002 (a Loader's)
        return LOAD_S

    def go_to(self, now: float) -> None:
        self.now = now
        for need in [need for need, at in self.done_at.items() if at <= now]:
            del self.done_at[need]
            self.under_way.pop(need).set_result(self.loaded(need))


class Machine:
    """An engine's rounds without its thread: one tick, preparation or finish takes 0.3 s."""

    def __init__(self, patience: float, stretch: float, budget: int) -> None:
        self.loader = TimedLoader()
        self.residence = Residence(self.loader, budget, wake=lambda: None)
        self.policy = ShortestRemainingWork(
            limit=RowLimit(rows=ROWS),
            patience=patience,
            low_priority_s=0.0,
            load_delay=lambda job: stretch * self.residence.wait_s(job),
        )
        self.held: list[Job[Any]] = []
        self.ended: dict[int, float] = {}

    def run(self, coming: list[Job[Any]]) -> None:
        now, coming = 0.0, list(coming)
        while coming or self.held:
            while coming and coming[0].submitted_at <= now:
                self.held.append(coming.pop(0))
            self.loader.go_to(now)
            if self._works():
                now += TICK_S
            else:
                now = min([job.submitted_at for job in coming[:1]] + list(self.loader.done_at.values()))
            self.ended |= {id(job): now for job in self.held if job.phase is Phase.ENDED}
            self.held = [job for job in self.held if job.phase is not Phase.ENDED]

    def _works(self) -> bool:
        self.residence.collect()
        ready = [job for job in self.held if self.residence.unet(job) is not None]
        if len(ready) < len(self.held):
            self.residence.plan(self.policy.in_turn(self.held))
        ready = [job for job in ready if self.residence.unet(job) is not None]  # what went just now is no more there
        if not ready:
            return False
        chosen = self.policy.choose(ready)
        assert len({job.needs[0] for job in chosen}) == 1
        match chosen[0].phase:
            case Phase.PREPARE:
                chosen[0].enter_denoising()
            case Phase.DENOISE:
                for job in chosen:
                    job.denoising.advance(job.denoising.latents)
            case _:
                chosen[0].end()
        return True


def jobs_at(arrivals: list[tuple[float, str, int]]) -> list[Job[Any]]:
    jobs = []
    for at, model, steps in arrivals:
        job = make_job(needs=(Need(model),), steps=steps, size=(1, 1))
        job.submitted_at = at
        jobs.append(job)
    return jobs


@given(
    seed=st.integers(0, 2**32),
    patience=st.sampled_from([0.0, 0.3, 3.0]),
    stretch=st.sampled_from([0.0, 1.0, 3.0]),
    gap_s=st.floats(0.2, 4.0),
    models=st.integers(2, 6),
    budget=st.integers(1, 4),
)
@settings(max_examples=80)
def test_nobody_starves_for_want_of_a_model(
    seed: int, patience: float, stretch: float, gap_s: float, models: int, budget: int
) -> None:
    """The bound of `ShortestRemainingWork` with loads: whoever comes after a job is due is not worked on before it.

    Until it is due, all that has come may be worked off, with a load for each; then its own load comes next.
    """
    dice = random.Random(seed)
    arrivals, at = [], 0.0
    for _ in range(40):
        at += dice.expovariate(1 / gap_s)
        # The first models are asked for more often, as everywhere.
        arrivals.append((at, str(min(dice.randrange(models), dice.randrange(models))), dice.choice([1, 3, 8])))
    jobs = jobs_at(arrivals)
    machine = Machine(patience, stretch, budget)
    due = {id(job): machine.policy.due(job) for job in jobs}  # with the load: as late as it gets
    machine.run(jobs)
    for job in jobs:
        before = [other for other in jobs if other.submitted_at <= due[id(job)]]
        theirs_s = sum((other.steps + 2) * TICK_S + LOAD_S for other in before)
        assert machine.ended[id(job)] <= due[id(job)] + theirs_s + LOAD_S + 2 * TICK_S


def test_jobs_of_a_model_are_worked_off_together_while_others_wait() -> None:
    """Two models by turns, and room for one: with the load as work, there are fewer loads, and all end sooner."""
    arrivals = [(0.4 * index, "ab"[index % 2], 3) for index in range(24)]
    by_stretch = {}
    for stretch in (0.0, 2.0):
        jobs = jobs_at(arrivals)
        machine = Machine(1.0, stretch, budget=1)
        machine.run(jobs)
        by_stretch[stretch] = len(machine.loader.begun), max(machine.ended.values())
    assert by_stretch[2.0][0] < by_stretch[0.0][0] / 2, by_stretch
    assert by_stretch[2.0][1] < by_stretch[0.0][1], by_stretch


def test_others_go_on_while_a_model_is_loaded() -> None:
    jobs = jobs_at([(0.0, "a", 8), (0.1, "b", 1), (0.2, "a", 8)])
    machine = Machine(1.0, 1.0, budget=2)
    machine.run(jobs)
    a_ends, b_ends = machine.ended[id(jobs[0])], machine.ended[id(jobs[1])]
    assert a_ends < LOAD_S + 12 * TICK_S, "it waits for its own load alone"
    assert 2 * LOAD_S <= b_ends <= 2 * LOAD_S + 5 * TICK_S
