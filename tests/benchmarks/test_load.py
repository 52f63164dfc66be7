from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from benchmarks.load_arrivals import SIZES_PX, STEPS, Arrival, poisson_arrivals
from benchmarks.load_client import Answer
from benchmarks.load_report import Figures, Level, goals, pictures_per_s, table


def answers(arrivals: list[Arrival], latency_s: dict[int, float]) -> list[Answer]:
    return [
        Answer(
            work=arrival.work,
            due_s=arrival.at_s,
            sent_s=arrival.at_s,
            done_s=arrival.at_s + latency_s[arrival.work.steps],
            status=200,
            body=b"",
        )
        for arrival in arrivals
    ]


def figures(latency_s: dict[int, float]) -> Figures:
    arrivals = poisson_arrivals(60, 2.0, "seed")
    return Figures.of(answers(arrivals, latency_s), [None] * 60)


def test_arrivals_are_the_same_for_the_same_seed_only() -> None:
    assert poisson_arrivals(30, 2.0, "seed") == poisson_arrivals(30, 2.0, "seed")
    assert poisson_arrivals(30, 2.0, "seed") != poisson_arrivals(30, 2.0, "other seed")


def test_arrivals_have_equal_shares_and_the_rate() -> None:
    arrivals = poisson_arrivals(60, 2.0, "seed")
    kinds = Counter((arrival.work.steps, arrival.work.size_px) for arrival in arrivals)
    assert kinds == {(steps, size_px): 10 for steps in STEPS for size_px in SIZES_PX}
    times = [arrival.at_s for arrival in arrivals]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= 30


def test_gaps_are_exponential() -> None:
    times = [arrival.at_s for arrival in poisson_arrivals(3000, 2.0, "seed")]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    longer_than_mean = sum(gap > 0.5 for gap in gaps) / len(gaps)
    assert longer_than_mean == pytest.approx(0.368, abs=0.03)  # exp(-1)


def test_figures_leave_out_faults_and_count_them() -> None:
    arrivals = poisson_arrivals(6, 2.0, "seed")
    given = answers(arrivals, {8: 1.0, 30: 2.0, 50: 3.0})
    got = Figures.of(given, [None if one.work.steps < 50 else "status 503" for one in given])
    assert got.errors == 2
    assert got.mean_s == pytest.approx(1.5)
    assert got.p95_by_steps_s[30] == pytest.approx(2.0)
    assert pictures_per_s(given) == pytest.approx(6 / (max(a.done_s for a in given) - given[0].due_s))


def test_goals_and_table() -> None:
    fast, slow = figures({8: 0.1, 30: 1.0, 50: 4.0}), figures({8: 2.0, 30: 2.0, 50: 2.0})
    of = {"a": slow, "b": slow, "c": slow, "d": fast}
    capacities = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 1.8}
    level = Level(share=0.7, rate_per_s=1.4, figures=of, overloaded=["a"])
    verdicts = {goal.what: goal.is_met for goal in goals(capacities, [level])}
    assert verdicts == {
        "mean latency, d / b": False,
        "p95 of 8 steps, d / b": True,
        "p99 of 50 steps, d / c": False,
        "capacity, d / a": True,
        "capacity, d / b": False,
    }
    text = "\n".join(table({key: key for key in of}, capacities, [level]))
    assert "| 70%: 1.40/s | a † | " in text
    assert "| 70%: 1.40/s | d | " in text


def test_goals_need_their_contenders_and_their_level() -> None:
    slow = figures({8: 2.0, 30: 2.0, 50: 2.0})
    level = Level(share=0.4, rate_per_s=1.4, figures={"c": slow, "d": slow}, overloaded=[])
    assert list(goals({"c": 1.0, "d": 1.0}, [level])) == []
