"""Measures what the capacity simulation must be told, on a running cluster."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from statistics import median

import numpy as np

from benchmarks.capacity_model import Pipeline, StageSpeed
from benchmarks.load_arrivals import Work
from benchmarks.load_client import Answer, closed_loop
from benchmarks.load_contenders import RELAY_SHORTEST
from tests.service.server import Server

CLIENTS = (1, 2, 4, 8)  # for each base replica, so that ticks have from few rows to as many as may be
REQUESTS = 6  # of each client
ALONE = 8  # requests one after the other, for what is around the ticks
WARM_UP_LINE = re.compile(r"ms of a tick by rows: (.+); (\d+) rows at most; decoding ([\d.]+) ms")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What runs: an entry, and the replicas behind it."""

    entry: Server
    bases: Sequence[Server]
    refiners: Sequence[Server]


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the replicas of a stage have done so far; see docs/reference/metrics.md for the metrics."""

    ticks: float
    rows: float
    tick_s: float
    jobs: float
    prepare_s: float
    decodings: float
    decode_s: float

    @classmethod
    def by(cls, servers: Sequence[Server]) -> Spent:
        def total(name: str) -> float:
            return sum(server.metric(f"sdxl_relay_{name}") for server in servers)

        return cls(
            ticks=total("tick_seconds_count"),
            rows=total("tick_rows_sum"),
            tick_s=total("tick_seconds_sum"),
            jobs=total("encode_seconds_count"),
            prepare_s=total("encode_seconds_sum"),
            decodings=total("decode_seconds_count"),
            decode_s=total("decode_seconds_sum"),
        )

    @property
    def busy_s(self) -> float:
        return self.tick_s + self.prepare_s + self.decode_s

    def since(self, earlier: Spent) -> Spent:
        return Spent(**{name: value - getattr(earlier, name) for name, value in vars(self).items()})


def measured_pipeline(cluster: Cluster, work: Sequence[Work]) -> Pipeline:
    """The times under load of this work."""
    started = Spent.by(cluster.bases), Spent.by(cluster.refiners)
    levels: list[tuple[Spent, Spent]] = []
    for clients in CLIENTS:
        before = Spent.by(cluster.bases), Spent.by(cluster.refiners)
        many = list(islice(cycle(work), REQUESTS * clients * len(cluster.bases)))
        asyncio.run(closed_loop(cluster.entry.url, RELAY_SHORTEST, many, clients * len(cluster.bases)))
        levels.append((Spent.by(cluster.bases).since(before[0]), Spent.by(cluster.refiners).since(before[1])))
    ended = Spent.by(cluster.bases), Spent.by(cluster.refiners)
    handoff_s, entry_s = _around(
        asyncio.run(closed_loop(cluster.entry.url, RELAY_SHORTEST, list(islice(cycle(work), ALONE)), clients=1))
    )
    return Pipeline(
        base=_speed([base for base, _ in levels], ended[0].since(started[0]), cluster.bases[0]),
        refiner=_speed([refiner for _, refiner in levels], ended[1].since(started[1]), cluster.refiners[0]),
        handoff_s=handoff_s,
        entry_s=entry_s,
    )


def with_times_of(pipeline: Pipeline, base: Spent, refiner: Spent, answers: Sequence[Answer]) -> Pipeline:
    """The same with ticks as much longer or shorter as they were in a run, and with all its other times."""

    def as_in(spent: Spent, speed: StageSpeed) -> StageSpeed:
        longer = spent.tick_s / (spent.ticks * speed.tick_s(spent.rows / spent.ticks))
        return replace(
            speed,
            ticks_s={rows: longer * seconds for rows, seconds in speed.ticks_s.items()},
            prepare_s=spent.prepare_s / spent.jobs,
            decode_s=spent.decode_s / spent.decodings if spent.decodings else 0.0,
        )

    handoff_s, entry_s = _around(answers)
    return Pipeline(
        base=as_in(base, pipeline.base),
        refiner=as_in(refiner, pipeline.refiner),
        handoff_s=handoff_s,
        entry_s=entry_s,
    )


def with_warm_up_ticks(pipeline: Pipeline, cluster: Cluster) -> Pipeline:
    """The same with the ticks and decodings that the runners measured when they started, with nothing else to do."""

    def at_warm_up(speed: StageSpeed, server: Server) -> StageSpeed:
        table, _, decode_ms = _warm_up(server)
        pairs = (pair.split(": ") for pair in table.split(", "))
        ticks_s = {int(rows): float(ms) / 1000 for rows, ms in pairs}
        return replace(speed, ticks_s=ticks_s, decode_s=float(decode_ms) / 1000)

    return replace(
        pipeline,
        base=at_warm_up(pipeline.base, cluster.bases[0]),
        refiner=at_warm_up(pipeline.refiner, cluster.refiners[0]),
    )


def _speed(levels: Sequence[Spent], total: Spent, server: Server) -> StageSpeed:
    """A line through the levels' mean rows and mean times of a tick."""
    rows = [level.rows / level.ticks for level in levels]
    per_row_s, call_s = np.polyfit(rows, [level.tick_s / level.ticks for level in levels], 1)
    max_rows = int(_warm_up(server)[1])
    return StageSpeed(
        ticks_s={count: float(call_s + count * per_row_s) for count in range(1, max_rows + 1)},
        decode_s=total.decode_s / total.decodings if total.decodings else 0.0,
        prepare_s=total.prepare_s / total.jobs,
        max_rows=max_rows,
    )


def _warm_up(server: Server) -> tuple[str, str, str]:
    """From the log: the table of ticks, the most rows, and the ms of a decoding."""
    found = WARM_UP_LINE.search(server.log.read_text())
    if found is None:
        raise RuntimeError(f"the log does not tell the times measured at warm-up:\n{server.log.read_text()[-2000:]}")
    table, rows, decode_ms = found.groups()
    return table, rows, decode_ms


def _around(answers: Sequence[Answer]) -> tuple[float, float]:
    """Seconds between the stages, and before and after them: medians."""
    handoff_s = median(answer.phases_s["handoff"] for answer in answers)
    entry_s = median(
        answer.latency_s - sum(answer.phases_s.values()) + answer.phases_s["picture"] for answer in answers
    )
    return handoff_s, entry_s
