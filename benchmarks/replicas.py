"""Throughput with 1, 2 and 4 replicas of the stage that is the bottleneck: `python -m benchmarks.replicas`.

Through a real entry, real HTTP and real hand-offs, once with UNets that sleep instead of computing, so that the
machine's cores are no limit, and once with the mini checkpoint, where they are. All replicas of a case are started
once, with an entry for each number of them, and the entries take turns, several rounds over. Takes some 15 minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil

from benchmarks.load import machine
from benchmarks.load_arrivals import Work
from benchmarks.load_client import Answer, closed_loop, fault
from benchmarks.load_contenders import RELAY_SHORTEST
from benchmarks.replica_servers import Runner, Servers, Sleep
from sdxl.config.settings import StageName
from tests.service.server import Server

RESULT = Path(__file__).parent / "results" / "replicas.json"
COUNTS = (1, 2, 4)
GOALS = {2: 1.9, 4: 3.6}  # times one replica's throughput, where cores are no limit
CLIENTS = 8  # for each replica
MINI_ROWS = 4  # of a tick: few, so that answers do not come in bursts


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is measured: which stage has the replicas, and what is asked of them."""

    scaled: StageName
    work: Work
    sleeps: Mapping[StageName, Sleep] | None  # None: the mini checkpoint
    pictures: int  # for each replica and round

    def runner(self, stage: StageName) -> Runner:
        """One replica. A sleeping one takes one row a tick, as it would choose itself: more save it nothing."""
        if self.sleeps is None:
            return Runner(stage=stage, environment={"SDXL_MAX_ROWS": str(MINI_ROWS)})
        return Runner(stage=stage, sleep=self.sleeps[stage], environment={"SDXL_MAX_ROWS": "1"})


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one entry did in one round."""

    pictures_per_s: float
    cores_busy: float  # of the whole machine, clients and other programs included
    errors: int


def _work(steps: int, size_px: int, **options: object) -> Work:
    return Work(prompt="a red cube, white background", seed=1, steps=steps, size_px=size_px, options=options)


# The stage with one replica sleeps so little that it can serve four of the other.
SHORT, LONG = Sleep(row_ms=5), Sleep(row_ms=50)
CASES = {
    "sleeping, refiner": Case(
        scaled="refiner",
        work=_work(10, 64, high_noise_frac=0.3, guidance_scale=1),
        sleeps={"base": SHORT, "refiner": LONG},
        pictures=32,
    ),
    "sleeping, base": Case(
        scaled="base",
        work=_work(10, 64, high_noise_frac=0.9, guidance_scale=1),
        sleeps={"base": LONG, "refiner": SHORT},
        pictures=32,
    ),
    "mini, refiner": Case(scaled="refiner", work=_work(20, 128, high_noise_frac=0.3), sleeps=None, pictures=16),
    "mini, base": Case(scaled="base", work=_work(20, 128, refine="none"), sleeps=None, pictures=16),
}


def main() -> None:
    options = _options()
    document: dict[str, object] = {"machine": machine(), "clients_per_replica": CLIENTS}
    for name in options.cases:
        rounds = measure(CASES[name], options.rounds)
        document[name] = {
            "case": asdict(CASES[name]),
            "rounds": {count: [asdict(one) for one in ones] for count, ones in rounds.items()},
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(json.dumps(document, indent=1) + "\n")
        print(f"\n{name}, median of {options.rounds} rounds", *table(rounds), sep="\n", flush=True)


def measure(case: Case, rounds: int) -> dict[int, list[Round]]:
    """The rounds of each number of replicas."""
    other: StageName = "base" if case.scaled == "refiner" else "refiner"
    with Servers() as servers:
        *scaled, single = servers.runners([*[case.runner(case.scaled)] * max(COUNTS), case.runner(other)])
        clusters = [(scaled[:count], [single]) for count in COUNTS]
        by_stage = [(bases, refiners) if case.scaled == "base" else (refiners, bases) for bases, refiners in clusters]
        entries = dict(zip(COUNTS, servers.entries(by_stage), strict=True))
        for count, entry in entries.items():
            load(entry, case, count, pictures=count)  # the first request of a process takes longer
        measured: dict[int, list[Round]] = {count: [] for count in COUNTS}
        for _ in range(rounds):
            for count, entry in entries.items():
                measured[count].append(load(entry, case, count, pictures=count * case.pictures))
                print(f"{count}: {measured[count][-1]}", flush=True)
    return measured


def load(entry: Server, case: Case, count: int, *, pictures: int) -> Round:
    """One closed loop."""
    clients = count * CLIENTS
    before, begun = _busy_s(), time.perf_counter()
    answers = asyncio.run(closed_loop(entry.url, RELAY_SHORTEST, [case.work] * (2 * clients + pictures), clients))
    cores_busy = (_busy_s() - before) / (time.perf_counter() - begun)
    faults = [fault(RELAY_SHORTEST, answer) for answer in answers]
    for text in sorted({text for text in faults if text}):
        print(text)
    good = [answer for answer, text in zip(answers, faults, strict=True) if text is None]
    return Round(pictures_per_s=steady_rate(good, clients), cores_busy=cores_busy, errors=len(answers) - len(good))


def steady_rate(answers: Sequence[Answer], clients: int) -> float:
    """Pictures per second while all clients were at it and every replica had work for some time.

    From the answer that ends the first wave of requests to the one after which a client leaves.
    """
    done_s = sorted(answer.done_s for answer in answers)
    steady = done_s[clients - 1 : len(done_s) - clients + 1]
    return (len(steady) - 1) / (steady[-1] - steady[0]) if len(steady) > 1 else 0.0


def table(rounds: Mapping[int, Sequence[Round]]) -> Iterator[str]:
    """Markdown, line by line."""
    one = median(each.pictures_per_s for each in rounds[1])
    yield "| replicas | pictures/s | least to most | times one replica's | goal | cores busy | errors |"
    yield "|---|---|---|---|---|---|---|"
    for count, ones in rounds.items():
        rates = sorted(each.pictures_per_s for each in ones)
        cores, errors = median(each.cores_busy for each in ones), sum(each.errors for each in ones)
        yield (
            f"| {count} | {median(rates):.2f} | {rates[0]:.2f} to {rates[-1]:.2f} | {median(rates) / one:.2f}"
            f" | {GOALS.get(count, '')} | {cores:.2f} | {errors} |"
        )


def _busy_s() -> float:
    """CPU seconds that all cores of the machine have worked so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument(
        "--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=f"of {list(CASES)}"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
