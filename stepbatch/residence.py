"""Which models are there, within a budget of memory: loaded when jobs need them, kept by recent use."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from stepbatch.errors import ModelTooLarge
from stepbatch.failure import Failure, attempt
from stepbatch.job import Job, Need
from stepbatch.tick import UNet

logger = logging.getLogger(__name__)


Parts = Mapping[Hashable, int]
"""What takes memory, and how many bytes. What several models have in common is there once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Loaded:
    """What a load gives."""

    unet: UNet | None = None  # None for an extra
    parts: Parts
    enter: Callable[[], object] = lambda: None  # on the engine's thread, before it is used
    leave: Callable[[], object] = lambda: None  # on the engine's thread, after it was used for the last time


class Loader(Protocol):
    """How models and their extras come."""

    def load(self, need: Need) -> Future[Loaded]:
        """Begin to load it on another thread. What that raises, the jobs that wait for it fail with."""

    def parts(self, need: Need) -> Parts:
        """What it is going to take, before it is loaded."""

    def seconds(self, need: Need) -> float:
        """About how long its load takes; from any thread."""

    def is_pinned(self, need: Need) -> bool:
        """Whether it stays, once it is there."""


class Residence:
    """See `Models`. One model and one extra load at a time, beside the ticks; the needs of the job due first go first.

    What is not there gets its room from what no job needs, the least recently used first, then from what is needed by
    jobs that are due later than its own, the last first. A job of which the model has gone goes on when it is back:
    its latents and its conditioning are its own.
    """

    def __init__(self, loader: Loader, budget_bytes: int, wake: Callable[[], object]) -> None:
        """`wake` is called when something has come, on the thread that has loaded it."""
        self._loader, self._wake = loader, wake
        self.budget_bytes = budget_bytes
        """What all that is there may take."""
        self.when_changed: Callable[[], object] = lambda: None
        """On the engine's thread, whenever something has come or gone."""
        self._there: OrderedDict[Need, Loaded] = OrderedDict()  # the least recently used first
        self._coming: dict[Need, Future[Loaded]] = {}
        self._faults: dict[Need, Exception] = {}  # for those who wait at present

    @property
    def there(self) -> list[Need]:
        """What is there; from any thread."""
        return list(self._there)

    @property
    def used_bytes(self) -> int:
        """Of all that is there; from any thread."""
        return _size(loaded.parts for loaded in list(self._there.values()))

    @property
    def room_bytes(self) -> int:
        """What is left of the budget; from any thread."""
        return max(0, self.budget_bytes - self.used_bytes)

    def put(self, need: Need, loaded: Loaded) -> None:
        """Take in what was loaded before the engine has started."""
        loaded.enter()
        self._there[need] = loaded

    def collect(self) -> None:
        """See `Models`."""
        self._faults.clear()
        for need in [need for need, future in self._coming.items() if future.done()]:
            loaded = attempt(self._coming.pop(need).result)
            if isinstance(loaded, Failure):
                self._faults[need] = loaded.error
            elif need.is_extra and need.of_model not in self._there:
                continue  # its model has gone meanwhile
            elif isinstance(entered := attempt(loaded.enter), Failure):
                self._faults[need] = entered.error
            else:
                self._there[need] = loaded
                self.when_changed()

    def unet(self, job: Job[Any]) -> UNet | None:
        """See `Models`."""
        for need in job.needs:
            if need in self._faults:
                raise self._faults[need]
            if need not in self._there:
                return None
        for need in reversed(job.needs):  # the model last: its extras go before it does
            self._there.move_to_end(need)
        return self._there[job.needs[0]].unet

    def plan(self, jobs: Sequence[Job[Any]]) -> None:
        """See `Models`."""
        wanted = list(dict.fromkeys(need for job in jobs for need in job.needs))
        for is_extra in (False, True):
            if any(need.is_extra is is_extra for need in self._coming):
                continue
            need = next((need for need in wanted if need.is_extra is is_extra and self._can_come(need)), None)
            if need is not None:
                self._begin(need, wanted)

    def wait_s(self, job: Job[Any]) -> float:
        """See `Models`."""
        return sum(self._loader.seconds(need) for need in job.needs if need not in self._there)

    def let_go(self, model: Hashable) -> None:
        """Let what there is of the model be the first to make room; on the engine's thread."""
        for need in [need for need in self._there if need.model == model]:
            self._there.move_to_end(need, last=False)

    def _can_come(self, need: Need) -> bool:
        if need in self._there or need in self._coming:
            return False
        return not need.is_extra or need.of_model in self._there

    def _begin(self, need: Need, wanted: Sequence[Need]) -> None:
        own = self._loader.parts(need)
        pinned = [loaded.parts for other, loaded in self._there.items() if self._loader.is_pinned(other)]
        future: Future[Loaded] = Future()
        if _size([*pinned, own]) > self.budget_bytes:
            future.set_exception(ModelTooLarge(_size([own]), max(0, self.budget_bytes - _size(pinned))))
        else:
            victims = self._victims(need, wanted)
            if victims is None:
                return
            for victim in victims:
                self._remove(victim)
            future = self._loader.load(need)
        self._coming[need] = future
        future.add_done_callback(lambda _: self._wake())

    def _victims(self, need: Need, wanted: Sequence[Need]) -> list[Need] | None:
        """What has to go for `need`; None while there is too little that may."""
        first = set(wanted[: wanted.index(need)]) | {need.of_model}
        idle = [other for other in self._there if other not in wanted]
        later = [other for other in reversed(wanted) if other in self._there]
        stays = dict(self._there)
        coming = [self._loader.parts(other) for other in (*self._coming, need)]
        for victim in (*idle, *later):
            if _size([*coming, *(loaded.parts for loaded in stays.values())]) <= self.budget_bytes:
                break
            if self._may_go(victim, first):
                for other in self._with_extras(victim):
                    stays.pop(other, None)
        if _size([*coming, *(loaded.parts for loaded in stays.values())]) > self.budget_bytes:
            return None
        return [other for other in self._there if other not in stays]

    def _may_go(self, need: Need, first: Collection[Need]) -> bool:
        return not any(self._loader.is_pinned(other) or other in first for other in self._with_extras(need))

    def _with_extras(self, need: Need) -> list[Need]:
        """An extra alone, or a model with its own."""
        return [need] if need.is_extra else [other for other in self._there if other.model == need.model]

    def _remove(self, need: Need) -> None:
        left = attempt(self._there.pop(need).leave)
        if isinstance(left, Failure):
            logger.error("%s did not leave in order", need, exc_info=left.error)
        self.when_changed()


def _size(parts: Iterable[Parts]) -> int:
    """In bytes, each part once."""
    total: dict[Hashable, int] = {}
    for each in parts:
        total.update(each)
    return sum(total.values())
