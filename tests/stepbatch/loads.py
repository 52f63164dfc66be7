"""A false loader: a model is there when the test says so."""

from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from stepbatch.job import Need
from stepbatch.residence import Loaded, Parts
from tests.stepbatch.fakes import FalseUNet


@dataclass
class FalseLoader:
    sizes: Mapping[Hashable, int] = field(default_factory=dict)  # bytes, by the model's or the extra's name; else 1
    common: Mapping[Hashable, Sequence[str]] = field(default_factory=dict)  # parts of one byte that others have, too
    pinned: frozenset[Hashable] = frozenset()
    load_s: float = 1.0
    begun: list[Need] = field(default_factory=list)  # all loads, in order
    left: list[Need] = field(default_factory=list)
    unets: dict[Hashable, FalseUNet] = field(default_factory=dict)
    under_way: dict[Need, Future[Loaded]] = field(default_factory=dict)

    def load(self, need: Need) -> Future[Loaded]:
        self.begun.append(need)
        return self.under_way.setdefault(need, Future())

    def parts(self, need: Need) -> Parts:
        name = need.extra or need.model
        return {name: self.sizes.get(name, 1), **dict.fromkeys(self.common.get(name, ()), 1)}

    def seconds(self, need: Need) -> float:  # noqa: ARG002 (a Loader's)
        return self.load_s

    def is_pinned(self, need: Need) -> bool:
        return need.model in self.pinned

    def loaded(self, need: Need) -> Loaded:
        unet = None if need.is_extra else self.unets.setdefault(need.model, FalseUNet())
        return Loaded(unet=unet, parts=self.parts(need), leave=lambda: self.left.append(need))

    def end(self, error: Exception | None = None) -> Need:
        """Ends the load that was begun first."""
        need = next(iter(self.under_way))
        future = self.under_way.pop(need)
        if error is None:
            future.set_result(self.loaded(need))
        else:
            future.set_exception(error)
        return need
