"""From answers to figures, and from figures to a table and the goals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import nan

import numpy as np

from benchmarks.load_arrivals import STEPS
from benchmarks.load_client import Answer

GOALS_AT = 0.7  # the share of the reference's capacity at which the goals count


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one contender did at one level. Latencies in seconds, over the answers without a fault."""

    pictures_per_s: float
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    p95_by_steps_s: dict[int, float]
    p99_by_steps_s: dict[int, float]
    errors: int
    largest_send_lag_s: float  # how late the client itself sent a request

    @classmethod
    def of(cls, answers: Sequence[Answer], faults: Sequence[str | None]) -> Figures:
        good = [answer for answer, fault in zip(answers, faults, strict=True) if fault is None]
        latencies = [answer.latency_s for answer in good]
        by_steps = {steps: [a.latency_s for a in good if a.work.steps == steps] for steps in STEPS}
        return cls(
            pictures_per_s=pictures_per_s(good),
            mean_s=float(np.mean(latencies)) if latencies else nan,
            p50_s=quantile(latencies, 0.5),
            p95_s=quantile(latencies, 0.95),
            p99_s=quantile(latencies, 0.99),
            p95_by_steps_s={steps: quantile(of_steps, 0.95) for steps, of_steps in by_steps.items()},
            p99_by_steps_s={steps: quantile(of_steps, 0.99) for steps, of_steps in by_steps.items()},
            errors=len(answers) - len(good),
            largest_send_lag_s=max(answer.sent_s - answer.due_s for answer in answers),
        )


@dataclass(frozen=True, kw_only=True)
class Level:
    """One rate of arrivals, and what each contender made of it."""

    share: float
    rate_per_s: float
    figures: dict[str, Figures]
    overloaded: list[str]  # who was asked for more than its capacity: its latencies grow with the length of the run


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A ratio that is to be reached."""

    what: str
    value: float
    bound: float
    at_most: bool

    @property
    def is_met(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        verdict = "pass" if self.is_met else "MISS"
        return f"{verdict}  {self.what}: {self.value:.2f} (at {'most' if self.at_most else 'least'} {self.bound:g})"

    def as_document(self) -> dict[str, object]:
        return {**asdict(self), "is_met": self.is_met}


def quantile(values: Sequence[float], share: float) -> float:
    """NaN if there are no values."""
    return float(np.quantile(values, share)) if values else nan


def pictures_per_s(answers: Sequence[Answer]) -> float:
    """From the first request to the last answer, so that all the work counts, the long jobs too."""
    if not answers:
        return 0.0
    return len(answers) / (max(answer.done_s for answer in answers) - min(answer.due_s for answer in answers))


def goals(capacities: Mapping[str, float], levels: Sequence[Level]) -> Iterator[Goal]:
    """Those that the contenders measured allow to judge."""
    at_level = next((level.figures for level in levels if level.share == GOALS_AT), {})
    b, c, d = (at_level.get(key) for key in "bcd")
    if b and d:
        yield Goal(what="mean latency, d / b", value=d.mean_s / b.mean_s, bound=0.6, at_most=True)
        ratio = d.p95_by_steps_s[STEPS[0]] / b.p95_by_steps_s[STEPS[0]]
        yield Goal(what=f"p95 of {STEPS[0]} steps, d / b", value=ratio, bound=0.25, at_most=True)
    if c and d:
        ratio = d.p99_by_steps_s[STEPS[-1]] / c.p99_by_steps_s[STEPS[-1]]
        yield Goal(what=f"p99 of {STEPS[-1]} steps, d / c", value=ratio, bound=1.5, at_most=True)
    for key, bound in (("a", 1.5), ("b", 1.0)):
        if {key, "d"} <= capacities.keys():
            ratio = capacities["d"] / capacities[key]
            yield Goal(what=f"capacity, d / {key}", value=ratio, bound=bound, at_most=False)


def table(names: Mapping[str, str], capacities: Mapping[str, float], levels: Sequence[Level]) -> Iterator[str]:
    """Markdown, line by line."""
    yield "| | | capacity, pictures/s |"
    yield "|---|---|---|"
    for key, capacity in capacities.items():
        yield f"| {key} | {names[key]} | {capacity:.2f} |"
    by_steps = " | ".join(f"p95 of {steps} steps" for steps in STEPS)
    yield ""
    yield f"| load | | pictures/s | mean | p50 | p95 | p99 | {by_steps} | p99 of {STEPS[-1]} steps | errors |"
    yield "|" + "---|" * (9 + len(STEPS))
    for level in levels:
        for key, of in level.figures.items():
            seconds = [of.mean_s, of.p50_s, of.p95_s, of.p99_s, *of.p95_by_steps_s.values()]
            cells = " | ".join(f"{value:.2f}" for value in [*seconds, of.p99_by_steps_s[STEPS[-1]]])
            load, mark = f"{level.share:.0%}: {level.rate_per_s:.2f}/s", " †" if key in level.overloaded else ""
            yield f"| {load} | {key}{mark} | {of.pictures_per_s:.2f} | {cells} | {of.errors} |"
    yield ""
    yield "Latencies in seconds."
    if any(level.overloaded for level in levels):
        yield "† More was asked for than its capacity: its latencies grow with the length of the run."
