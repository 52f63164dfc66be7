"""A false loader: a model is there when the test says so."""

from collections.abc import Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from stepbatch.job import Need
from stepbatch.residence import Loaded
from tests.stepbatch.fakes import FalseUNet


@dataclass
class FalseLoader:
    sizes: Mapping[Hashable, int] = field(default_factory=dict)  # bytes, by the model's or the extra's name; else 1
    pinned: frozenset[Hashable] = frozenset()
    load_s: float = 1.0
    begun: list[Need] = field(default_factory=list)  # all loads, in order
    left: list[Need] = field(default_factory=list)
    unets: dict[Hashable, FalseUNet] = field(default_factory=dict)
    under_way: dict[Need, Future[Loaded]] = field(default_factory=dict)

    def load(self, need: Need) -> Future[Loaded]:
        self.begun.append(need)
        return self.under_way.setdefault(need, Future())

    def size_bytes(self, need: Need) -> int:
        return self.sizes.get(need.extra or need.model, 1)

    def seconds(self, need: Need) -> float:  # noqa: ARG002 (a Loader's)
        return self.load_s

    def is_pinned(self, need: Need) -> bool:
        return need.model in self.pinned

    def loaded(self, need: Need) -> Loaded:
        unet = None if need.is_extra else self.unets.setdefault(need.model, FalseUNet())
        return Loaded(unet=unet, size_bytes=self.size_bytes(need), leave=lambda: self.left.append(need))

    def end(self, error: Exception | None = None) -> Need:
        """Ends the load that was begun first."""
        need = next(iter(self.under_way))
        future = self.under_way.pop(need)
        if error is None:
            future.set_result(self.loaded(need))
        else:
            future.set_exception(error)
        return need
