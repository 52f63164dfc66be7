"""What the capacity simulation is told: how fast each stage is, what is asked for, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from runners.stage import LOW_PRIORITY_S, STRETCH
from stepbatch.policy import RowLimit, ShortestRemainingWork
from stepbatch.warmup import worthwhile_rows


@dataclass(frozen=True, kw_only=True)
class StageSpeed:
    """One replica's speed, at the one picture size that the simulation is of."""

    ticks_s: dict[int, float]  # seconds of a tick by its rows; between them, it is interpolated
    decode_s: float = 0.0  # of a picture, if this stage ends with one
    prepare_s: float = 0.0  # of a job before its first tick: prompts, latents
    max_rows: int | None = None  # as SDXL_MAX_ROWS; None: as a runner chooses it from its ticks

    def tick_s(self, rows: float) -> float:
        """Beyond what was measured, a tick's time grows as its rows do."""
        most = max(self.ticks_s)
        if rows > most:
            return self.ticks_s[most] * rows / most
        known = sorted(self.ticks_s)
        return float(np.interp(rows, known, [self.ticks_s[one] for one in known]))

    @property
    def row_limit(self) -> int:
        """Rows of a tick at most."""
        return self.max_rows or worthwhile_rows(self.ticks_s)

    @property
    def row_s(self) -> float:
        """Seconds of one row and step in full ticks."""
        return self.tick_s(self.row_limit) / self.row_limit

    def policy(self) -> ShortestRemainingWork:
        """The policy of such a replica; all rows have one latent pixel, so that work is rows x steps."""
        return ShortestRemainingWork(
            limit=RowLimit(rows=self.row_limit), patience=STRETCH * self.row_s, low_priority_s=LOW_PRIORITY_S
        )


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The two stages and what lies between and around them; nobody queues for the latter."""

    base: StageSpeed
    refiner: StageSpeed
    handoff_s: float = 0.0  # from the base's last tick to the refiner's queue
    entry_s: float = 0.0  # before the first stage and after the last: HTTP, the picture's file


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Requests of one kind. The base makes the whole picture if `high_noise_frac` is 1 (`refine` is `none`)."""

    steps: int
    high_noise_frac: float
    guidance_scale: float
    weight: float = 1.0  # its share among all kinds

    @property
    def rows(self) -> int:
        return 2 if self.guidance_scale > 1 else 1

    @property
    def refiner_steps(self) -> int:
        return self.steps - self.base_steps

    @property
    def base_steps(self) -> int:
        """As an even spacing of timesteps gives it; a sampler's own may differ by one."""
        if self.high_noise_frac >= 1:
            return self.steps
        return min(max(round(self.steps * self.high_noise_frac), 1), self.steps - 1)

    def base_s(self, pipeline: Pipeline) -> float:
        """What one such request asks of a base in full ticks."""
        return self._busy_s(pipeline.base, self.base_steps, is_last=self.refiner_steps == 0)

    def refiner_s(self, pipeline: Pipeline) -> float:
        """What one such request asks of a refiner in full ticks."""
        return self._busy_s(pipeline.refiner, self.refiner_steps, is_last=True) if self.refiner_steps else 0.0

    def _busy_s(self, speed: StageSpeed, steps: int, *, is_last: bool) -> float:
        return speed.prepare_s + steps * self.rows * speed.row_s + (speed.decode_s if is_last else 0.0)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One request, and when it comes, in seconds from the start."""

    at_s: float
    kind: Kind


def poisson_arrivals(count: int, rate_per_s: float, mix: Sequence[Kind], seed: int) -> list[Arrival]:
    """`count` arrivals within count / rate seconds: uniform and sorted, which is a Poisson process of known count."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, count / rate_per_s, count))
    weights = np.array([kind.weight for kind in mix])
    chosen = rng.choice(len(mix), count, p=weights / weights.sum())
    return [Arrival(at_s=float(at_s), kind=mix[index]) for at_s, index in zip(times, chosen, strict=True)]


def replicas_busy(rate_per_s: float, mix: Sequence[Kind], pipeline: Pipeline) -> tuple[float, float]:
    """How many replicas of base and refiner the work would keep busy without a pause, in full ticks."""
    total = sum(kind.weight for kind in mix)
    base_s = sum(kind.weight * kind.base_s(pipeline) for kind in mix) / total
    refiner_s = sum(kind.weight * kind.refiner_s(pipeline) for kind in mix) / total
    return rate_per_s * base_s, rate_per_s * refiner_s
