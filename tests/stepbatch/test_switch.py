"""Jobs with other adapters share an engine, but no tick; and the model is not switched more often than it must be."""

import random
from concurrent.futures import wait
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from stepbatch.denoising import Conditioning
from stepbatch.engine import Engine
from stepbatch.job import Job, Phase
from stepbatch.models import OneModel
from stepbatch.policy import FirstComeFirstServed, Policy, RowLimit, ShortestRemainingWork, reason_to_wait
from stepbatch.switch import Switch
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, denoise_alone, make_denoising, make_job
from tests.stepbatch.test_shortest_work import Machine

ADAPTERS: tuple[Any, ...] = ((), ("a",), ("b",))


@dataclass
class Switched:
    """A false UNet, and a false text encoder, whose results depend on the adapters."""

    unet: FalseUNet = field(default_factory=FalseUNet)
    active: tuple[str, ...] = ()
    applied: list[tuple[str, ...]] = field(default_factory=list)
    broken: tuple[str, ...] | None = None

    def switch(self, adapters: tuple[str, ...]) -> None:
        self.applied.append(adapters)
        self.active = ("half done",)
        if adapters == self.broken:
            raise ValueError("no such adapter")
        self.active = adapters

    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        return self.unet(latents, timesteps, conditioning) * {(): 1.0, ("a",): 0.8, ("b",): -0.7}[self.active]

    def job(self, seed: int, adapters: tuple[str, ...]) -> Job[Tensor]:
        job = make_job(seed=seed, steps=3 + seed, adapters=adapters)
        prepare = job.prepare

        def checked() -> Any:
            assert self.active == adapters, "the text encoders are switched, too"
            return prepare()

        job.prepare = checked
        return job

    def alone(self, seed: int, adapters: tuple[str, ...]) -> Tensor:
        other = Switched(active=adapters)
        return denoise_alone(make_denoising(seed=seed, steps=3 + seed), other)


def engine(model: Switched, policy: Policy) -> Engine:
    return Engine(OneModel(model), policy, max_jobs=16, seconds_per_work=1.0, switch=model.switch)


WANTED = [(seed, ADAPTERS[seed % 3]) for seed in range(9)]
POLICIES: list[Policy] = [
    FirstComeFirstServed(max_rows=12),
    ShortestRemainingWork(limit=RowLimit(rows=6), patience=1.0, low_priority_s=60.0),
]


def run_mixed(model: Switched, policy: Policy) -> list[Job[Tensor]]:
    """Jobs as WANTED, all submitted before the engine begins, and ended."""
    jobs = [model.job(*one) for one in WANTED]
    running = engine(model, policy)
    for job in jobs:
        running.submit(job)
    with running:
        wait([job.future for job in jobs], TIMEOUT_S)
    return jobs


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_each_job_is_prepared_and_ticks_with_its_own_adapters(policy: Policy) -> None:
    model = Switched()
    jobs = run_mixed(model, policy)
    for job, one in zip(jobs, WANTED, strict=True):
        torch.testing.assert_close(job.future.result(), model.alone(*one))
    assert max(model.unet.rows) > 2, "those with the same adapters share ticks"
    for call in model.unet.calls:
        assert len({int(seed) % 3 for seed in call.pooled}) == 1, "and others take turns"


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_a_failing_switch_fails_those_jobs_alone(policy: Policy) -> None:
    model = Switched(broken=("b",))
    jobs = run_mixed(model, policy)
    for job, (seed, adapters) in zip(jobs, WANTED, strict=True):
        if adapters == ("b",):
            assert "no such adapter" in str(job.future.exception())
        else:
            torch.testing.assert_close(job.future.result(), model.alone(seed, adapters))


def test_a_switch_that_fails_before_a_tick_fails_all_of_it() -> None:
    model = Switched()
    jobs = [model.job(seed, ("a",)) for seed in range(3)] + [model.job(3, ())]
    with engine(model, POLICIES[0]) as running:
        jobs[0].on_step = lambda done, _: setattr(model, "broken", ("a",)) if done == 2 else None
        for job in jobs:
            running.submit(job)
        wait([job.future for job in jobs], TIMEOUT_S)
        late = model.job(4, ())
        running.submit(late)
        torch.testing.assert_close(late.future.result(TIMEOUT_S), model.alone(4, ()))
    torch.testing.assert_close(jobs[3].future.result(), model.alone(3, ()))


def test_nothing_is_applied_that_is_already_there() -> None:
    applied: list[Any] = []
    switch = Switch(applied.append)
    for adapters in ((), (), ("a",), ("a",), (), ("b",)):
        switch.to(adapters)
    assert applied == [("a",), (), ("b",)]


def test_the_reason_to_wait() -> None:
    one, other = make_job(adapters=("a",)), make_job(adapters=("b",))
    one.enter_denoising()
    assert reason_to_wait(other, Phase.DENOISE, [one]) == "adapters"
    assert reason_to_wait(make_job(adapters=("b",), size=(4, 4)), Phase.DENOISE, [one]) == "size"


@pytest.mark.parametrize(("gap_s", "groups"), [(8.0, 2), (3.0, 2), (0.5, 2), (3.0, 5)])
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_groups_do_not_take_turns_at_every_tick(policy: Policy, gap_s: float, groups: int) -> None:
    """However many ticks there are, a job costs two switches at most by its coming and its end, and one to prepare."""
    dice = random.Random(1)
    machine, at = Machine(policy), 0.0
    applied: list[int] = []
    switch = Switch(applied.append)
    coming: list[Job[Any]] = []
    for _ in range(100):
        at += dice.expovariate(1 / gap_s)
        job = make_job(steps=dice.choice([8, 30, 50]), size=(1, 1), adapters=dice.randrange(groups), finish_work=1.0)
        job.submitted_at = at
        coming.append(job)
    jobs, ticks, held = len(coming), 0, list[Job[Any]]()
    while coming or held:
        if not held:
            machine.now = max(machine.now, coming[0].submitted_at)
        while coming and coming[0].submitted_at <= machine.now:
            held.append(coming.pop(0))
        chosen = policy.choose(held)
        if chosen[0].phase is not Phase.FINISH:
            switch.to(chosen[0].adapters)
            ticks += chosen[0].phase is Phase.DENOISE
        machine.work(held)
        held = [job for job in held if job.phase is not Phase.ENDED]
    assert ticks > 5 * jobs
    assert len(applied) <= (3 if isinstance(policy, FirstComeFirstServed) else 2) * jobs
