"""What a fault costs the request that it hits: `python -m benchmarks.chaos`. Takes some 10 minutes on two cores.

An entry and two replicas of each stage, each on a host of its own (see tests/service/hosts.py; needs root). One
request at a time. When the stage that is to be hit has done a third of its steps, the fault strikes the replica at
work. Every picture must be the undisturbed one, to the bit. Prints a table, and writes all figures to
`benchmarks/results/chaos.json`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, get_args

from entry.fleet.replica import REASONS
from tests.service.chaos import cut_off
from tests.service.hosts import why_not
from tests.service.replicas import Company, Replica, Stage, running

ROUNDS, SILENCE_S = 3, 5
LOOK_S = 0.25  # to look costs time on the cores that the request needs
STEPS = 80  # half of them by each stage
HIT_AFTER = STEPS // 2 // 3
REQUEST: dict[str, Any] = {"prompt": "a red cube on top of a blue sphere, yellow background", "seed": 7,
           "num_inference_steps": STEPS, "high_noise_frac": 0.5}  # fmt: skip
RESULT = Path(__file__).parent / "results" / "chaos.json"


@dataclass(frozen=True)
class Fault:
    """What strikes a replica, and what makes it well again once the request is done.

    Nothing is started before that: on one machine it would take the cores that the request needs.
    """

    strike: Callable[[Replica], None]
    heal: Callable[[Replica], None] = lambda _replica: None


def start(replica: Replica) -> None:
    """Of what was ended."""
    replica.start()
    replica.wait_until_ready()


FAULTS = {
    "killed": Fault(Replica.kill, start),
    "stopped (SIGTERM)": Fault(Replica.stop, start),
    "cut off for 2 s": Fault(lambda replica: cut_off(replica, 2.0)),
    "cut off for 10 s": Fault(lambda replica: cut_off(replica, 10.0)),
    "2 s late": Fault(Replica.delay, Replica.hurry),
}


@dataclass(frozen=True)
class Hit:
    """A request whose stage was hit."""

    stage: Stage
    fault: str
    seconds: float
    undisturbed_s: float  # of the same request right before
    retried: dict[str, float]  # calls by the reason why they failed


def main(rounds: int = ROUNDS) -> None:
    if reason := why_not():
        print(reason, file=sys.stderr)
        return
    with (
        tempfile.TemporaryDirectory() as home,
        running(Path(home), 2, SDXL_RUNNER_SILENCE_S=SILENCE_S, SDXL_FIXED_ROWS=2) as company,
        company.entry_host.inside(),
    ):
        for _ in range(3):
            picture, _ = ask(company)
        hits = [
            hit(company, stage, fault, picture) for _ in range(rounds) for stage in get_args(Stage) for fault in FAULTS
        ]
    report(hits)


def ask(company: Company, wanted: bytes | None = None) -> tuple[bytes, float]:
    """The picture, which must be the wanted one, and the seconds that it took."""
    begun = time.perf_counter()
    answer = company.entry.post("/generate", json=REQUEST)
    took_s = time.perf_counter() - begun
    if answer.status_code != 200 or wanted not in (None, answer.content):
        raise SystemExit(f"not the picture: {answer.status_code} {answer.text[:300]}")
    return answer.content, took_s


def hit(company: Company, stage: Stage, fault: str, picture: bytes) -> Hit:
    """Sends a request and lets the fault strike; returns when all is well again."""
    company.wait_until_whole()
    _, undisturbed_s = ask(company, picture)
    before = retried(company, stage)
    steps = {replica: steps_done(replica) for replica in company.of(stage)}
    with ThreadPoolExecutor(2, initializer=company.entry_host.enter) as pool:
        asked = pool.submit(ask, company, picture)
        victim = None
        while victim is None:
            if asked.done():
                raise SystemExit(f"the picture came before the fault: {asked.result()[1]:.1f} s")
            time.sleep(LOOK_S)
            victim = next((one for one in steps if steps_done(one) - steps[one] >= HIT_AFTER), None)
        struck = pool.submit(FAULTS[fault].strike, victim)
        _, seconds = asked.result()
        struck.result()
        FAULTS[fault].heal(victim)
    company.wait_until_whole()
    after = retried(company, stage)
    failed: dict[str, float] = {
        reason: after[reason] - before[reason] for reason in REASONS if after[reason] > before[reason]
    }
    print(f"{stage} {fault}: {seconds:.1f} s, undisturbed {undisturbed_s:.1f} s, {failed}", flush=True)
    return Hit(stage, fault, seconds, undisturbed_s, failed)


def steps_done(replica: Replica) -> float:
    """UNet calls so far."""
    return replica.server.metric("sdxl_relay_tick_rows_count", stage=replica.stage)


def retried(company: Company, stage: Stage) -> dict[str, float]:
    """Calls so far that failed, by why."""
    return {
        reason: company.entry.metric("sdxl_relay_calls_retried_total", stage=stage, reason=reason) for reason in REASONS
    }


def report(hits: list[Hit]) -> None:
    usual_s = median(one.undisturbed_s for one in hits)
    print(f"\nundisturbed: {usual_s:.2f} s (median of {len(hits)}); a silence of {SILENCE_S} s is a loss")
    print("| stage | fault | request, s | costs, s (median) | at most, s | calls that failed |")
    print("|---|---|---|---|---|---|")
    for stage in get_args(Stage):
        for fault in FAULTS:
            these = [one for one in hits if (one.stage, one.fault) == (stage, fault)]
            costs_s = [one.seconds - one.undisturbed_s for one in these]
            failed = "; ".join(", ".join(f"{int(n)} {why}" for why, n in one.retried.items()) or "-" for one in these)
            print(
                f"| {stage} | {fault} | {median(one.seconds for one in these):.1f} | {median(costs_s):.1f} "
                f"| {max(costs_s):.1f} | {failed} |"
            )
    document = {"cores": os.cpu_count(), "request": REQUEST, "hits": [asdict(one) for one in hits]}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
