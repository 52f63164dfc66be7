"""Who may do a request's jobs: the replicas of both stages that agree in what they make of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

from entry.fleet.replica import Replica
from entry.fleet.stage import StageClient, Team
from sdxl.handoff.identity import Identity

Pair = tuple[Identity | None, Identity | None]


@dataclass(frozen=True)
class Asked:
    """What a stage is asked for."""

    model: str | None
    """None: the default of whoever gets it."""
    loras: tuple[str, ...] = ()

    def identity_of(self, replica: Replica) -> Identity | None:
        """What a replica is for such jobs; None if it cannot do them."""
        return replica.identity_for(self.model, self.loras)

    def identities(self, replicas: Iterable[Replica]) -> Counter[Identity]:
        """How many are what."""
        found = (self.identity_of(replica) for replica in replicas)
        return Counter(identity for identity in found if identity is not None)


@dataclass(frozen=True)
class Teams:
    """Those for one request, looked at anew each time: replicas come and go."""

    base: StageClient
    refiner: StageClient
    of_base: Asked
    of_refiner: Asked | None
    """None for a request without the refiner."""

    @property
    def chosen(self) -> Pair:
        """What the replicas must be."""
        refiners = self.of_refiner.identities(self.refiner.replicas) if self.of_refiner else Counter[Identity]()
        return choose(self.of_base.identities(self.base.replicas), refiners)

    @property
    def disagreements(self) -> list[str]:
        """What keeps the refiner from going on where the base stops."""
        base, refiner = self.chosen
        return base.disagreements(refiner) if base and refiner else []

    @property
    def for_base(self) -> Team:
        """Who may get the job first."""
        return _team(self.base, self.of_base, lambda: self.chosen[0])

    @property
    def for_refiner(self) -> Team:
        """Who may get it afterwards."""
        assert self.of_refiner is not None
        return _team(self.refiner, self.of_refiner, lambda: self.chosen[1])


def choose(bases: Counter[Identity], refiners: Counter[Identity]) -> Pair:
    """The identities that work together: those with the most ready replicas on the scarcer side.

    Replicas differ while a new checkpoint is rolled out; the choice changes once the new ones are more. A stage
    without a replica, or without one that fits, leaves the other to itself: each can do some work alone. Of equals,
    the same ones are always chosen.
    """
    fitting = [pair for pair in product(bases, refiners) if not pair[0].disagreements(pair[1])]

    def strength(pair: tuple[Identity, Identity]) -> tuple[int, int, str]:
        ready = bases[pair[0]], refiners[pair[1]]
        return min(ready), sum(ready), repr(pair)

    return max(fitting, key=strength, default=(_most(bases), _most(refiners)))


def _most(ready: Counter[Identity]) -> Identity | None:
    return max(ready, key=lambda identity: (ready[identity], repr(identity)), default=None)


def _team(stage: StageClient, asked: Asked, chosen: Callable[[], Identity | None]) -> Team:
    def members() -> list[Replica]:
        wanted = chosen()
        return [replica for replica in stage.replicas if wanted and asked.identity_of(replica) == wanted]

    return Team(asked.model, members)
