"""Both stages' replicas, and whether they belong together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from entry.fleet.metrics import CallMetrics
from entry.fleet.stage import StageClient
from sdxl.config.settings import Settings
from sdxl.handoff.identity import Identity
from sdxl.request.settled import Card

Pair = tuple[Identity | None, Identity | None]


class Fleet:
    """What the entry service sends its jobs to."""

    def __init__(self, settings: Settings) -> None:
        self.base = StageClient("base", settings)
        self.refiner = StageClient("refiner", settings)
        self.base.chosen = lambda: self._choose()[0]
        self.refiner.chosen = lambda: self._choose()[1]
        self.base.changed = self.refiner.changed = self._look
        self._chosen: Pair = (None, None)
        self.has_been_ready = asyncio.Event()

    def start(self, base_urls: Sequence[str], refiner_urls: Sequence[str]) -> None:
        """Begins to look for replicas, on the event loop that serves."""
        metrics = CallMetrics(stage.name for stage in self._stages)
        self.base.start(base_urls, metrics)
        self.refiner.start(refiner_urls, metrics)

    async def close(self) -> None:
        """Closes the connections; jobs in flight are cancelled."""
        for stage in self._stages:
            await stage.close()

    @property
    def is_ready(self) -> bool:
        """Whether both stages have a ready replica, and these belong together."""
        return all(stage.ready for stage in self._stages)

    def report(self) -> dict[str, Any]:
        """What there is of each stage, and what disagrees. Without addresses: anybody may read it."""
        report: dict[str, Any] = {"ready": self.is_ready}
        for stage, chosen in zip(self._stages, self._choose(), strict=True):
            others = [replica.identity for replica in stage.replicas if replica.identity not in (None, chosen)]
            report[stage.name] = {
                "ready": len(stage.ready),
                "known": len(stage.replicas),
                "faults": [f"{count} x {fault}" for fault, count in stage.faults.items()],
                "left_out": [other.model_dump() for other in others if other is not None],
            }
        report["disagreements"] = self._disagreements()
        return report

    def cards(self) -> Mapping[str, Card]:
        """What the stages tell of their checkpoints; only of those that are ready."""
        found = {stage.name: replica.card for stage in self._stages for replica in stage.ready}
        return {name: card for name, card in found.items() if card is not None}

    def _look(self) -> None:
        if self.is_ready:
            self.has_been_ready.set()

    @property
    def _stages(self) -> tuple[StageClient, StageClient]:
        return self.base, self.refiner

    def _choose(self) -> Pair:
        self._chosen = choose(_count(self.base), _count(self.refiner), self._chosen)
        return self._chosen

    def _disagreements(self) -> list[str]:
        if None not in self._choose():
            return []
        pairs = product(_count(self.base), _count(self.refiner))
        return sorted({disagreement for base, refiner in pairs for disagreement in base.disagreements(refiner)})


def choose(bases: Counter[Identity], refiners: Counter[Identity], before: Pair) -> Pair:
    """The identities that work together: those with the most ready replicas on the scarcer side.

    Replicas differ while a new checkpoint is rolled out; the choice changes once the new ones are more. If no
    base fits any refiner, neither is chosen. A stage without a replica leaves the other to itself: the base can
    make pictures alone, and so can the refiner.
    """
    if not bases or not refiners:
        return _most(bases, before[0]), _most(refiners, before[1])
    fitting = [pair for pair in product(bases, refiners) if not pair[0].disagreements(pair[1])]

    def strength(pair: tuple[Identity, Identity]) -> tuple[int, int, bool]:
        ready = bases[pair[0]], refiners[pair[1]]
        return min(ready), sum(ready), pair == before

    return max(fitting, key=strength, default=(None, None))


def _most(ready: Counter[Identity], before: Identity | None) -> Identity | None:
    return max(ready, key=lambda identity: (ready[identity], identity == before), default=None)


def _count(stage: StageClient) -> Counter[Identity]:
    return Counter(replica.identity for replica in stage.replicas if replica.identity is not None)
