from __future__ import annotations

import pytest

from benchmarks.load_arrivals import Work
from benchmarks.load_client import Answer
from benchmarks.replica_servers import Runner, Sleep
from benchmarks.replicas import CASES, Round, steady_rate, table
from sdxl.config.settings import StageName


def answers(done_s: list[float]) -> list[Answer]:
    work = Work(prompt="a red cube", seed=1, steps=4, size_px=64)
    return [Answer(work=work, due_s=0.0, sent_s=0.0, done_s=one, status=200, body=b"") for one in done_s]


def test_the_steady_rate_leaves_out_the_first_wave_and_what_is_left_when_clients_leave() -> None:
    slow_start, steady, slow_end = [3.0, 6.0], [7.0, 8.0, 9.0, 10.0, 11.0], [20.0]
    assert steady_rate(answers([*slow_start, *steady, *slow_end]), clients=2) == pytest.approx(1.0)
    assert steady_rate(answers([1.0, 2.0]), clients=2) == 0.0


def test_the_table_compares_medians_with_one_replica() -> None:
    def rounds(*rates: float) -> list[Round]:
        return [Round(pictures_per_s=rate, cores_busy=1.0, errors=0) for rate in rates]

    lines = list(table({1: rounds(1.0, 2.0, 9.0), 2: rounds(3.0, 4.0, 5.0)}))
    assert "| 2 | 4.00 | 3.00 to 5.00 | 2.00 | 1.9 | 1.00 | 0 |" in lines


@pytest.mark.parametrize("name", CASES)
def test_the_other_stage_is_no_bottleneck(name: str) -> None:
    case = CASES[name]
    options = case.work.options
    share = 1.0 if options.get("refine") == "none" else float(str(options["high_noise_frac"]))
    base_steps = round(case.work.steps * share)
    steps: dict[StageName, int] = {"base": base_steps, "refiner": case.work.steps - base_steps}
    sleeps = case.sleeps or {"base": Sleep(row_ms=1), "refiner": Sleep(row_ms=1)}
    other: StageName = "base" if case.scaled == "refiner" else "refiner"
    replicas = 4 if case.sleeps else 2  # with the mini checkpoint, the cores are the limit anyway
    assert replicas * steps[other] * sleeps[other].row_ms < steps[case.scaled] * sleeps[case.scaled].row_ms


def test_a_runner_that_sleeps_is_told_how_long() -> None:
    runner = Runner(stage="base", sleep=Sleep(call_ms=20, row_ms=10), environment={"SDXL_MAX_ROWS": "4"})
    assert runner.target == "benchmarks.sleeping:BaseRunner"
    assert runner.variables.items() >= {"SLEEP_MS": "20", "SLEEP_MS_PER_ROW": "10", "SDXL_MAX_ROWS": "4"}.items()
    assert Runner(stage="refiner").target == "runners.refiner:RefinerRunner"
