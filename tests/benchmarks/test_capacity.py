from __future__ import annotations

import numpy as np
import pytest

from benchmarks.capacity import main
from benchmarks.capacity_model import Arrival, Kind, Pipeline, StageSpeed, poisson_arrivals, replicas_busy
from benchmarks.capacity_simulation import Outcome, Simulation

ONE_ROW = StageSpeed(ticks_s={1: 1.0}, max_rows=1)
ONE_STEP = Kind(steps=1, high_noise_frac=1, guidance_scale=1)
# A second row costs half of the first; two kinds, of which one has guidance.
BATCHING = Pipeline(
    base=StageSpeed(ticks_s={1: 0.010, 8: 0.045}, decode_s=0.02, prepare_s=0.005, max_rows=8),
    refiner=StageSpeed(ticks_s={1: 0.012, 8: 0.054}, decode_s=0.02, prepare_s=0.003, max_rows=8),
    handoff_s=0.004,
    entry_s=0.006,
)
MIX = [
    Kind(steps=30, high_noise_frac=0.8, guidance_scale=5, weight=2),
    Kind(steps=10, high_noise_frac=0.5, guidance_scale=1),
]


def simulate(
    pipeline: Pipeline, mix: list[Kind], rate_per_s: float, *, count: int = 300, bases: int = 1, refiners: int = 1
) -> Outcome:
    arrivals = poisson_arrivals(count, rate_per_s, mix, seed=1)
    return Simulation(pipeline, bases=bases, refiners=refiners).run(arrivals)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_row_at_a_time_is_a_queue_of_poisson_arrivals_and_constant_service(load: float) -> None:
    outcome = simulate(Pipeline(base=ONE_ROW, refiner=ONE_ROW), [ONE_STEP], load, count=20_000)
    # Pollaczek and Khinchine for M/D/1, with a service time of 1 s.
    assert outcome.latencies_s.mean() == pytest.approx(1 + load / (2 * (1 - load)), rel=0.05)
    assert outcome.base_utilisation == pytest.approx(load, rel=0.01)
    assert outcome.refiner_utilisation == 0


def test_a_request_alone_takes_the_sum_of_its_parts() -> None:
    arrival = Arrival(at_s=3.0, kind=MIX[1])
    outcome = Simulation(BATCHING, bases=2, refiners=2).run([arrival])
    parts = [0.005 + 5 * 0.010, 0.004, 0.003 + 5 * 0.012 + 0.02, 0.006]
    assert outcome.latencies_s == pytest.approx([sum(parts)])


def test_the_base_decodes_what_no_refiner_gets() -> None:
    arrival = Arrival(at_s=0.0, kind=Kind(steps=5, high_noise_frac=1, guidance_scale=1))
    outcome = Simulation(BATCHING, bases=1, refiners=1).run([arrival])
    assert outcome.latencies_s == pytest.approx([0.005 + 5 * 0.010 + 0.02 + 0.006])


def test_jobs_of_one_moment_share_their_ticks() -> None:
    two = [Arrival(at_s=0.0, kind=Kind(steps=10, high_noise_frac=1, guidance_scale=5)) for _ in range(2)]
    outcome = Simulation(BATCHING, bases=1, refiners=1).run(two)
    ticks_s = 10 * BATCHING.base.tick_s(4)  # both have two rows
    assert outcome.latencies_s == pytest.approx(
        [2 * 0.005 + ticks_s + 0.02 + 0.006, 2 * 0.005 + ticks_s + 0.04 + 0.006]
    )


def test_every_request_is_answered_and_no_work_is_lost() -> None:
    # One row a tick, so that company changes nothing about the time that the work takes.
    pipeline = Pipeline(base=ONE_ROW, refiner=StageSpeed(ticks_s={1: 0.5}, max_rows=1, decode_s=1.0))
    mix = [Kind(steps=4, high_noise_frac=0.5, guidance_scale=1), Kind(steps=9, high_noise_frac=1, guidance_scale=1)]
    arrivals = poisson_arrivals(200, 0.2, mix, seed=1)
    outcome = Simulation(pipeline, bases=2, refiners=3).run(arrivals)
    assert np.isfinite(outcome.latencies_s).all()
    assert outcome.latencies_s.min() == pytest.approx(4.0)
    handed_off = sum(arrival.kind is mix[0] for arrival in arrivals)
    base_s, refiner_s = 2.0 * handed_off + 9.0 * (200 - handed_off), (2 * 0.5 + 1.0) * handed_off
    assert outcome.base_utilisation / outcome.refiner_utilisation == pytest.approx((base_s / 2) / (refiner_s / 3))


@pytest.mark.parametrize("rate_per_s", [2.0, 3.5])
def test_more_replicas_are_never_worse(rate_per_s: float) -> None:
    p95_s = {
        (bases, refiners): simulate(BATCHING, MIX, rate_per_s, bases=bases, refiners=refiners).quantile_s(0.95)
        for bases in (1, 2, 4)
        for refiners in (1, 2)
    }
    for bases, refiners in ((1, 1), (1, 2), (2, 1), (2, 2)):
        assert p95_s[2 * bases, refiners] <= 1.02 * p95_s[bases, refiners]
    for bases in (1, 2, 4):
        assert p95_s[bases, 2] <= 1.02 * p95_s[bases, 1]


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    once, again = (simulate(BATCHING, MIX, 3.0, bases=2) for _ in range(2))
    assert (once.latencies_s == again.latencies_s).all()
    other = Simulation(BATCHING, bases=2, refiners=1).run(poisson_arrivals(300, 3.0, MIX, seed=2))
    assert (once.latencies_s != other.latencies_s).any()


def test_tick_times_between_and_beyond_the_measured_ones() -> None:
    speed = StageSpeed(ticks_s={2: 0.02, 4: 0.03, 8: 0.05})
    assert [speed.tick_s(rows) for rows in (1, 2, 3, 8, 16)] == pytest.approx([0.02, 0.02, 0.025, 0.05, 0.1])
    assert speed.row_limit == 8
    assert StageSpeed(ticks_s=speed.ticks_s, max_rows=4).row_s == pytest.approx(0.03 / 4)


def test_steps_of_a_kind() -> None:
    kinds = [Kind(steps=40, high_noise_frac=share, guidance_scale=5) for share in (0.8, 0.001, 0.999, 1)]
    assert [(kind.base_steps, kind.refiner_steps) for kind in kinds] == [(32, 8), (1, 39), (39, 1), (40, 0)]


def test_replicas_that_the_work_keeps_busy() -> None:
    pipeline = Pipeline(base=ONE_ROW, refiner=StageSpeed(ticks_s={2: 1.0}, decode_s=2.0, max_rows=2))
    mix = [Kind(steps=10, high_noise_frac=0.7, guidance_scale=5), ONE_STEP]
    assert replicas_busy(0.5, mix, pipeline) == pytest.approx((0.25 * (14 + 1), 0.25 * (3 + 2)))


def test_the_command_names_the_smallest_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--requests", "200", "--base-ticks", "2:20", "--refiner-ticks", "2:20", "--mix", "20:0.5:5"]
    main([*common, "--rate", "8", "--target-p95", "1"])
    text = capsys.readouterr().out
    assert "The work alone keeps 1.60 base and 1.71 refiner replicas busy" in text
    assert text.count("| met |") >= 1
    assert "meet the target with the fewest in all" in text
    main([*common, "--rate", "1", "--target-p95", "0.1"])
    assert "None of these meets the target" in capsys.readouterr().out
