"""Models that had to leave the GPU, kept in the host's memory: from there they come back faster than from a disk."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn


class HostCopy:
    """One model's tensors, where the GPU can read them while the host does something else (pinned)."""

    def __init__(self, model: nn.Module, *, pinned: bool) -> None:
        self._pairs = [(tensor, _copied(tensor, pinned=pinned)) for tensor in _tensors(model)]

    @property
    def size_bytes(self) -> int:
        """Of the copy."""
        return sum(host.nbytes for _, host in self._pairs)

    def leave(self) -> None:
        """Gives up the device's memory. The model is the copy from now on."""
        for tensor, host in self._pairs:
            tensor.data = host

    def bring(self, device: str) -> None:
        """The model is on the device again when this returns."""
        for tensor, host in self._pairs:
            tensor.data = host.to(device, non_blocking=True, copy=True)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)


class Owner(Protocol):
    """Of a pipeline."""

    pipeline: Any


T = TypeVar("T", bound=Owner)


class Parked(Generic[T]):
    """Those whose pipelines have left the device, the least recently used first to go.

    Parts that several pipelines have in common stay on the device while one of these does.
    Not thread-safe: nothing leaves while another comes.
    """

    def __init__(self, budget_bytes: int, device: str) -> None:
        self._budget, self._device = budget_bytes, device
        self._copies: WeakKeyDictionary[nn.Module, HostCopy] = WeakKeyDictionary()
        self._users: Counter[int] = Counter()  # pipelines on the device, by the part's identity
        self._there: OrderedDict[Hashable, T] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._there

    def hold(self, owner: T) -> None:
        """Copies what is on the device for the first time."""
        for part in _parts(owner):
            self._users[id(part)] += 1
            if part not in self._copies:
                self._copies[part] = HostCopy(part, pinned=self._device.startswith("cuda"))

    def park(self, key: Hashable, owner: T) -> None:
        """Takes it off the device, and keeps it while there is room."""
        for part in _parts(owner):
            self._users[id(part)] -= 1
            if not self._users[id(part)]:
                del self._users[id(part)]
                self._copies[part].leave()
        self._there[key] = owner
        while self._there and self._size_bytes() > self._budget:
            self._there.popitem(last=False)

    def bring(self, key: Hashable) -> T | None:
        """Whose pipeline is on the device again; None if it is not here."""
        owner = self._there.pop(key, None)
        for part in _parts(owner) if owner is not None else ():
            if not self._users[id(part)]:
                self._copies[part].bring(self._device)
            self._users[id(part)] += 1
        return owner

    def _size_bytes(self) -> int:
        parts = {part for owner in self._there.values() for part in _parts(owner)}
        return sum(self._copies[part].size_bytes for part in parts)


def _copied(tensor: Tensor, *, pinned: bool) -> Tensor:
    host = torch.empty_like(tensor, device="cpu", pin_memory=pinned)
    return host.copy_(tensor.detach())


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _parts(owner: Owner) -> list[nn.Module]:
    return [part for part in owner.pipeline.components.values() if isinstance(part, nn.Module)]
