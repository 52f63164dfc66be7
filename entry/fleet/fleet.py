"""Both stages' replicas, and whether they belong together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from entry.fleet.metrics import CallMetrics
from entry.fleet.stage import RETRY_AFTER_S, StageClient
from sdxl.config.settings import Settings
from sdxl.errors import RelayError, invalid_field, shorten
from sdxl.handoff.identity import Identity
from sdxl.request.fields import RefineMode
from sdxl.request.settled import Card

Pair = tuple[Identity | None, Identity | None]


class Fleet:
    """What the entry service sends its jobs to."""

    def __init__(self, settings: Settings) -> None:
        self.base = StageClient("base", settings)
        self.refiner = StageClient("refiner", settings)
        self.stages = (self.base, self.refiner) if settings.has_refiner else (self.base,)
        self.base.chosen = lambda: self._choose()[0]
        self.refiner.chosen = lambda: self._choose()[1]
        self.base.changed = self.refiner.changed = self._look
        self._chosen: Pair = (None, None)
        self.has_been_ready = asyncio.Event()

    def start(self, urls: Mapping[str, Sequence[str]]) -> None:
        """Begins to look for the replicas of each of `stages`, on the event loop that serves."""
        metrics = CallMetrics(stage.name for stage in self.stages)
        for stage in self.stages:
            stage.start(urls[stage.name], metrics)

    async def close(self) -> None:
        """Closes the connections; jobs in flight are cancelled."""
        for stage in self.stages:
            await stage.close()

    @property
    def is_ready(self) -> bool:
        """Whether all stages have a ready replica."""
        return all(stage.ready for stage in self.stages)

    def report(self) -> dict[str, Any]:
        """What there is of each stage, and what disagrees. Without addresses: anybody may read it."""
        report: dict[str, Any] = {"ready": self.is_ready}
        for stage, chosen in zip(self.stages, self._choose(), strict=False):
            others = [replica.identity for replica in stage.replicas if replica.identity not in (None, chosen)]
            report[stage.name] = {
                "ready": len(stage.ready),
                "known": len(stage.replicas),
                "faults": [f"{count} x {fault}" for fault, count in stage.faults.items()],
                "left_out": [other.model_dump() for other in others if other is not None],
            }
        report["disagreements"] = self.disagreements()
        return report

    def disagreements(self) -> list[str]:
        """What keeps the refiner from going on where the base stops."""
        base, refiner = self._choose()
        return base.disagreements(refiner) if base and refiner else []

    def refining(self, refine: RefineMode | None) -> RefineMode | None:
        """What a request's `refine` is here. Raises RelayError: 400 without a refiner, 503 where it does not fit."""
        if len(self.stages) == 1:
            if refine not in (None, "none"):
                raise invalid_field("refine", refine, "none, for this server has no refiner (SDXL_REFINER)")
            return "none"
        card = self.cards().get("base")
        wanted = refine or (card.defaults.refine if card else None)
        if wanted != "none" and (found := self.disagreements()):
            raise RelayError(
                503,
                "stages_do_not_fit",
                f"refine: got {shorten(wanted)}; allowed: none, for base and refiner do not fit: {'; '.join(found)}",
                field="refine",
                got=wanted,
                retry_after_s=RETRY_AFTER_S,
            )
        return refine

    def check_refiner(self) -> None:
        """Raises RelayError (400) if there is none."""
        if len(self.stages) == 1:
            raise RelayError(
                400,
                "no_refiner",
                "this server has no refiner (SDXL_REFINER); allowed: /edit, which is img2img by the base",
            )

    def cards(self) -> Mapping[str, Card]:
        """What the stages tell of their checkpoints; only of those that are ready."""
        found = {stage.name: replica.card for stage in self.stages for replica in stage.ready}
        return {name: card for name, card in found.items() if card is not None}

    def _look(self) -> None:
        if self.is_ready:
            self.has_been_ready.set()

    def _choose(self) -> Pair:
        self._chosen = choose(_count(self.base), _count(self.refiner), self._chosen)
        return self._chosen


def choose(bases: Counter[Identity], refiners: Counter[Identity], before: Pair) -> Pair:
    """The identities that work together: those with the most ready replicas on the scarcer side.

    Replicas differ while a new checkpoint is rolled out; the choice changes once the new ones are more. A stage
    without a replica, or without one that fits, leaves the other to itself: each can do some work alone.
    """
    fitting = [pair for pair in product(bases, refiners) if not pair[0].disagreements(pair[1])]

    def strength(pair: tuple[Identity, Identity]) -> tuple[int, int, bool]:
        ready = bases[pair[0]], refiners[pair[1]]
        return min(ready), sum(ready), pair == before

    return max(fitting, key=strength, default=(_most(bases, before[0]), _most(refiners, before[1])))


def _most(ready: Counter[Identity], before: Identity | None) -> Identity | None:
    return max(ready, key=lambda identity: (ready[identity], identity == before), default=None)


def _count(stage: StageClient) -> Counter[Identity]:
    return Counter(replica.identity for replica in stage.replicas if replica.identity is not None)
