"""Whether the capacity simulation says what really happens: `python -m benchmarks.capacity_check`.

Starts 1 + 1 replicas of the mini checkpoint, and 1 + 1 and 2 + 1 whose UNets sleep (benchmarks/sleeping.py), each
behind an entry. Measures the times of their ticks and of what is around them, sends the same Poisson arrivals to the
entry and to the simulation, and prints both side by side. Takes some 20 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks import load_arrivals
from benchmarks.capacity_model import Arrival, Kind, Pipeline, poisson_arrivals, replicas_busy
from benchmarks.capacity_probe import Cluster, Spent, measured_pipeline, with_times_of, with_warm_up_ticks
from benchmarks.capacity_simulation import SETTLING, Simulation
from benchmarks.load import machine
from benchmarks.load_arrivals import Work
from benchmarks.load_client import fault, open_loop
from benchmarks.load_contenders import RELAY_SHORTEST
from benchmarks.replica_servers import Runner, Servers, Sleep

RESULT = Path(__file__).parent / "results" / "capacity_check.json"
# The mini checkpoint's native size: at others, a runner takes more or fewer rows a tick than its log says.
SIZE_PX = 128
MIX = [
    Kind(steps=20, high_noise_frac=0.8, guidance_scale=5),
    Kind(steps=10, high_noise_frac=0.5, guidance_scale=1),
]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A cluster to check."""

    bases: int
    refiners: int
    sleep: Sleep | None = None  # None: the mini checkpoint


# So long that what two cores do besides, and other programs on them, weigh little.
SLEEP = Sleep(call_ms=80, row_ms=40)
CASES = {
    "mini 1 + 1": Case(bases=1, refiners=1),
    "sleeping 1 + 1": Case(bases=1, refiners=1, sleep=SLEEP),
    "sleeping 2 + 1": Case(bases=2, refiners=1, sleep=SLEEP),
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one run, real or simulated."""

    p50_s: float
    p95_s: float
    mean_s: float
    base_busy: float
    refiner_busy: float

    @classmethod
    def of(cls, latencies_s: Sequence[float], base_busy: float, refiner_busy: float) -> Figures:
        settled = latencies_s[int(SETTLING * len(latencies_s)) :]
        p50_s, p95_s = (float(np.quantile(settled, share)) for share in (0.5, 0.95))
        mean_s = float(np.mean(settled))
        return cls(p50_s=p50_s, p95_s=p95_s, mean_s=mean_s, base_busy=base_busy, refiner_busy=refiner_busy)


def main() -> None:
    options = _options()
    document: dict[str, object] = {
        "machine": machine(),
        "options": vars(options),
        "mix": [asdict(kind) for kind in MIX],
    }
    for name in options.cases:
        document[name] = check(name, CASES[name], options)
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(document, indent=1) + "\n")


def check(name: str, case: Case, options: argparse.Namespace) -> dict[str, object]:
    """Starts the case's cluster, and compares at each load."""
    with Servers() as servers:
        bases = servers.runners([Runner(stage="base", sleep=case.sleep)] * case.bases)
        refiners = servers.runners([Runner(stage="refiner", sleep=case.sleep)] * case.refiners)
        (entry,) = servers.entries([(bases, refiners)])
        cluster = Cluster(entry=entry, bases=bases, refiners=refiners)
        under_load = measured_pipeline(cluster, [_work(kind, index) for index, kind in enumerate(MIX * 4)])
        at_start = with_warm_up_ticks(under_load, cluster)
        print(f"\n{name}: {under_load}\n", flush=True)
        loads: dict[float, dict[str, Figures]] = {}
        for share in options.loads:
            rate_per_s = share * _capacity_per_s(under_load, case)
            arrivals = poisson_arrivals(options.requests, rate_per_s, MIX, options.seed)
            measured, in_the_run = _real(cluster, arrivals, under_load)
            loads[rate_per_s] = {
                "measured": measured,
                "simulated, times of this run": _simulated(in_the_run, case, arrivals),
                "simulated, times measured before": _simulated(under_load, case, arrivals),
                "simulated, ticks of the warm-up": _simulated(at_start, case, arrivals),
            }
        print(*_table(loads), sep="\n", flush=True)
    return {
        "case": asdict(case),
        "pipeline": asdict(under_load),
        "pipeline_of_warm_up": asdict(at_start),
        "loads": {rate: {kind: asdict(one) for kind, one in figures.items()} for rate, figures in loads.items()},
    }


def _capacity_per_s(pipeline: Pipeline, case: Case) -> float:
    base_busy, refiner_busy = replicas_busy(1.0, MIX, pipeline)
    return 1 / max(base_busy / case.bases, refiner_busy / case.refiners)


def _simulated(pipeline: Pipeline, case: Case, arrivals: Sequence[Arrival]) -> Figures:
    outcome = Simulation(pipeline, bases=case.bases, refiners=case.refiners).run(arrivals)
    return Figures.of(list(outcome.latencies_s), outcome.base_utilisation, outcome.refiner_utilisation)


def _real(cluster: Cluster, arrivals: Sequence[Arrival], pipeline: Pipeline) -> tuple[Figures, Pipeline]:
    """Gives also the pipeline with the times of this run. Raises RuntimeError unless every request gets its picture."""
    sent = [
        load_arrivals.Arrival(at_s=arrival.at_s, work=_work(arrival.kind, index))
        for index, arrival in enumerate(arrivals)
    ]
    bases_before, refiners_before = Spent.by(cluster.bases), Spent.by(cluster.refiners)
    answers = asyncio.run(open_loop(cluster.entry.url, RELAY_SHORTEST, sent))
    faults = [text for text in (fault(RELAY_SHORTEST, answer) for answer in answers) if text]
    if faults:
        raise RuntimeError(f"{len(faults)} of {len(answers)} requests failed, the first with {faults[0]}")
    took_s = max(answer.done_s for answer in answers)
    base, refiner = Spent.by(cluster.bases).since(bases_before), Spent.by(cluster.refiners).since(refiners_before)
    base_busy, refiner_busy = (
        spent.busy_s / took_s / len(servers) for spent, servers in ((base, cluster.bases), (refiner, cluster.refiners))
    )
    figures = Figures.of([answer.latency_s for answer in answers], base_busy, refiner_busy)
    return figures, with_times_of(pipeline, base, refiner, answers)


def _work(kind: Kind, index: int) -> Work:
    options = {"high_noise_frac": kind.high_noise_frac, "guidance_scale": kind.guidance_scale}
    return Work(prompt=f"a red cube, {index}", seed=index, steps=kind.steps, size_px=SIZE_PX, options=options)


def _table(loads: Mapping[float, Mapping[str, Figures]]) -> Iterator[str]:
    """Markdown, line by line."""
    yield "| requests/s | | mean, s | p50, s | p95, s | base busy | refiner busy |"
    yield "|---|---|---|---|---|---|---|"
    for rate_per_s, figures in loads.items():
        for name, of in figures.items():
            yield (
                f"| {rate_per_s:.2f} | {name} | {of.mean_s:.2f} | {of.p50_s:.2f} | {of.p95_s:.2f}"
                f" | {of.base_busy:.0%} | {of.refiner_busy:.0%} |"
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=150, help="at each load (default %(default)s)")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.7], help="shares of the simulated capacity")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=f"of {list(CASES)}"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
