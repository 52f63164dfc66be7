"""Lets a call of a model end early, on the CPU, where one may take many seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sdxl.config.settings import Settings
from sdxl.models.backends.attention import QUERIES, AttentionBy, attend
from sdxl.models.backends.parts import StandIn
from sdxl.models.checkpoint import Checkpoint

STEPS = (nn.Conv2d, nn.GroupNorm, nn.LayerNorm)  # of UNets and VAEs: a call looks before each whether to go on


def ending_early(checkpoint: Checkpoint, settings: Settings) -> Callable[[bool], None]:
    """What tells the checkpoint's models: nothing on a GPU, whose calls are short, nor for compiled code."""
    if checkpoint.device != "cpu" or settings.compile != "off":
        return lambda _: None
    return Interruptible(checkpoint.pipeline).end_early


class NobodyWaits(Exception):
    """The work was told to end early."""


class Interruptible:
    """The UNet and the VAE of a pipeline."""

    def __init__(self, pipeline: Any) -> None:
        self._is_wanted = False
        self._tell: list[Callable[[bool], None]] = []
        for model in (pipeline.unet, pipeline.vae):
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
