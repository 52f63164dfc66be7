"""A discrete-event simulation of the two stages, with the engine's own policy and jobs, under a false clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.capacity_model import Arrival, Kind, Pipeline, StageSpeed
from stepbatch.denoising import Conditioning, Denoising, Sampler
from stepbatch.job import Job, Phase

SETTLING = 0.1  # of the requests, the first, come to a cluster that is still empty: they are not counted
# The policy reads no tensor, so these have shapes and no numbers.
LATENTS = torch.empty(1, 4, 1, 1, device="meta")
CONDITIONING = {
    rows: Conditioning(embeddings=nothing, pooled=nothing, time_ids=nothing)
    for rows in (1, 2)
    for nothing in [torch.empty(rows, 1, device="meta")]
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the requests, in order of arrival."""

    latencies_s: NDArray[np.float64]
    base_utilisation: float  # share of the time that a replica is at work, on average
    refiner_utilisation: float

    def quantile_s(self, share: float) -> float:
        """Of the latencies, without those of the beginning."""
        return float(np.quantile(self.latencies_s[int(SETTLING * len(self.latencies_s)) :], share))


class Events:
    """The false clock: what happens when, in order; what falls together, in the order in which it was planned."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, delay_s: float, happen: Callable[[], None]) -> None:
        heappush(self._planned, (self.now_s + delay_s, next(self._order), happen))

    def run(self) -> None:
        """Until nothing is planned any more."""
        while self._planned:
            self.now_s, _, happen = heappop(self._planned)
            happen()


class Replica:
    """One runner: what `stepbatch.engine.Engine` does, with time that passes by table instead of a UNet."""

    def __init__(self, speed: StageSpeed, events: Events) -> None:
        self._speed, self._events = speed, events
        self._policy = speed.policy()
        self._jobs: list[Job[None]] = []
        self._is_at_work = False
        self.busy_s = 0.0

    @property
    def outstanding(self) -> float:
        """Work that is not done, in rows x steps."""
        return sum(job.remaining_work for job in self._jobs)

    def submit(self, job: Job[None]) -> None:
        job.submitted_at = self._events.now_s
        self._jobs.append(job)
        if not self._is_at_work:
            self._work()

    def _work(self) -> None:
        self._is_at_work = bool(self._jobs)
        if not self._jobs:
            return
        chosen = self._policy.choose(self._jobs)
        seconds = self._seconds(chosen)
        self.busy_s += seconds
        self._events.after(seconds, lambda: self._end(chosen))

    def _seconds(self, chosen: Sequence[Job[Any]]) -> float:
        match chosen[0].phase:
            case Phase.PREPARE:
                return self._speed.prepare_s
            case Phase.DENOISE:
                return self._speed.tick_s(sum(job.rows for job in chosen))
            case _:
                return chosen[0].finish_work * self._speed.row_s

    def _end(self, chosen: Sequence[Job[Any]]) -> None:
        match chosen[0].phase:
            case Phase.PREPARE:
                chosen[0].enter_denoising()
            case Phase.DENOISE:
                for job in chosen:
                    job.denoising.advance(LATENTS)
            case _:
                self._jobs.remove(chosen[0])
                chosen[0].finish(LATENTS)
                chosen[0].end()
        self._work()


class Simulation:
    """A cluster of `bases` and `refiners` replicas; each job goes to the one with the least outstanding work."""

    def __init__(self, pipeline: Pipeline, *, bases: int, refiners: int) -> None:
        self._pipeline = pipeline
        self._events = Events()
        self._bases = [Replica(pipeline.base, self._events) for _ in range(bases)]
        self._refiners = [Replica(pipeline.refiner, self._events) for _ in range(refiners)]

    def run(self, arrivals: Sequence[Arrival]) -> Outcome:
        """Until every request is answered; once."""
        answered_s = np.full(len(arrivals), np.nan)
        for index, arrival in enumerate(arrivals):
            self._events.after(arrival.at_s, partial(self._begin, index, arrival.kind, answered_s))
        self._events.run()
        return Outcome(
            latencies_s=answered_s - [arrival.at_s for arrival in arrivals],
            base_utilisation=self._utilisation(self._bases),
            refiner_utilisation=self._utilisation(self._refiners),
        )

    def _begin(self, index: int, kind: Kind, answered_s: NDArray[np.float64]) -> None:
        refiner = self._pipeline.refiner

        def answer() -> None:
            answered_s[index] = self._events.now_s + self._pipeline.entry_s

        def hand_off() -> None:
            self._events.after(self._pipeline.handoff_s, refine)

        def refine() -> None:
            job = _job(kind, kind.refiner_steps, finish_work=refiner.decode_s / refiner.row_s, then=answer)
            self._least_busy(self._refiners).submit(job)

        self._least_busy(self._bases).submit(self._base_job(kind, then=hand_off if kind.refiner_steps else answer))

    def _base_job(self, kind: Kind, then: Callable[[], None]) -> Job[None]:
        base = self._pipeline.base
        decode_s = 0.0 if kind.refiner_steps else base.decode_s
        return _job(kind, kind.base_steps, finish_work=decode_s / base.row_s, then=then)

    @staticmethod
    def _least_busy(replicas: Sequence[Replica]) -> Replica:
        return min(replicas, key=lambda replica: replica.outstanding)

    def _utilisation(self, replicas: Sequence[Replica]) -> float:
        return sum(replica.busy_s for replica in replicas) / (len(replicas) * self._events.now_s)


def _job(kind: Kind, steps: int, *, finish_work: float, then: Callable[[], None]) -> Job[None]:
    def prepare() -> Denoising:
        return Denoising(
            latents=LATENTS,
            sampler=cast(Sampler, None),  # nobody takes a step with it
            timesteps=torch.empty(steps, device="meta"),
            conditioning=CONDITIONING[kind.rows],
        )

    def finish(_: Tensor) -> None:
        then()

    return Job(prepare=prepare, finish=finish, rows=kind.rows, size=(1, 1), steps=steps, finish_work=finish_work)
