"""Lets a call of a model end early, on the CPU, where one may take many seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from sdxl.models.backends.attention import QUERIES, AttentionBy, attend
from sdxl.models.backends.parts import StandIn

STEPS = (nn.Conv2d, nn.GroupNorm, nn.LayerNorm)  # of UNets and VAEs: a call looks before each whether to go on


class NobodyWaits(Exception):
    """The work was told to end early."""


class Interruptible:
    """The UNets and the VAEs of pipelines."""

    def __init__(self) -> None:
        self._is_wanted = False
        self._known: WeakSet[nn.Module] = WeakSet()
        self._tell: list[Callable[[bool], None]] = []

    def add(self, pipeline: Any) -> None:
        """From now on, its models end early, too."""
        for model in (pipeline.unet, pipeline.vae):
            if model in self._known:
                continue
            self._known.add(model)
            if isinstance(model, StandIn):
                self._tell += [run.end_early for run in model.runs]
            else:
                model.set_attn_processor(AttentionBy(self._attend))
                for module in model.modules():
                    if isinstance(module, STEPS):
                        module.register_forward_pre_hook(lambda *_: self._look())

    def end_early(self, is_wanted: bool) -> None:
        """From another thread: whether a call under way, and all that begin meanwhile, are to raise."""
        self._is_wanted = is_wanted
        for tell in self._tell:
            tell(is_wanted)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
        """Many queries in parts, for this grows with the square of the pixels."""
        if query.shape[1] <= QUERIES:
            return attend(query, key, value, heads)
        parts = []
        for part in query.split(QUERIES, dim=1):
            self._look()
            parts.append(attend(part, key, value, heads))
        return torch.cat(parts, dim=1)

    def _look(self) -> None:
        if self._is_wanted:
            raise NobodyWaits
