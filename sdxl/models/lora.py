"""LoRAs in a model: each row of a UNet call has its own, and its low-rank part is added to that row alone.

As S-LoRA (arXiv 2311.03285) and Punica (arXiv 2310.18547) do it for language models: the model's weights are the same
for all rows, so rows with unlike LoRAs, and with none, share a call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sdxl.models.changed_layer import ChangedLayer, Rows
from sdxl.models.changes import Change
from sdxl.models.lora_file import read_lora
from sdxl.models.lora_names import Layers, Place, layers_of

Adapters = tuple[tuple[Hashable, float], ...]
"""LoRAs by their keys, each with its strength."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The LoRAs of one job."""

    unet: Adapters = ()
    text: Adapters = ()
    """Of the text encoders."""
    names: tuple[tuple[str, Hashable], ...] = ()
    """As the request has them, each with its key."""


NO_LORAS = Chosen()


@dataclass(frozen=True, kw_only=True, eq=False)
class ReadLora:
    """A file's changes, on the model's device and in its dtype."""

    changes: Mapping[Place, list[Change]]
    digest: str
    """SHA-256 of the file."""

    @property
    def size_bytes(self) -> int:
        """About what it takes: that of its tensors."""
        changes = (change for here in self.changes.values() for change in here)
        return sum(value.nbytes for change in changes for value in vars(change).values() if isinstance(value, Tensor))


class LoadedLoras:
    """Those of one model. But for `read`, only the engine's thread calls it."""

    def __init__(self, pipeline: Any, *, row_by_row: bool = False) -> None:
        """`row_by_row`: see `ChangedLayer`."""
        self._row_by_row = row_by_row
        self.digests: dict[Hashable, str] = {}
        """SHA-256 of each file, by the LoRA's key."""
        self._pipeline = pipeline
        self._changed: dict[Place, ChangedLayer] = {}
        self._is_in_unet = False

    @cached_property
    def layers(self) -> Layers:
        """The model's own; looked for before any LoRA is there."""
        return layers_of(self._pipeline)

    def read(self, path: Path) -> ReadLora:
        """From any thread. Raises UnusableFile for a file that does not fit."""
        changes = read_lora(path, self.layers)
        with path.open("rb") as file:
            return ReadLora(changes=changes, digest=hashlib.file_digest(file, "sha256").hexdigest())

    def add(self, key: Hashable, lora: ReadLora) -> None:
        """From now on, rows may have it."""
        for place, changes in lora.changes.items():
            if place not in self._changed:
                self._changed[place] = ChangedLayer(self.layers.modules[place], row_by_row=self._row_by_row)
            self._changed[place].changes[key] = changes
        self.digests[key] = lora.digest

    def remove(self, key: Hashable) -> None:
        """No row has it any more."""
        self._take_out(["unet"])
        del self.digests[key]
        for place, changed in list(self._changed.items()):
            changed.changes.pop(key, None)
            changed.forget()
            if not changed.changes:
                del self._changed[place]

    def for_rows(self, adapters: Sequence[Adapters]) -> None:
        """Prepares the UNet for a call whose rows have these; () is none at all, for which its own layers are there.

        Layers stay changed from call to call: changing them takes a few milliseconds.
        """
        if any(adapters):
            self._put_in(["unet"], Rows(adapters))
            self._is_in_unet = True
        elif self._is_in_unet:
            self._take_out(["unet"])

    @contextmanager
    def for_text(self, adapters: Adapters) -> Iterator[None]:
        """Lets the text encoders have these in the block; other models may have the same encoders."""
        parts = ["text_encoder", "text_encoder_2"]
        if not adapters:
            yield
            return
        self._put_in(parts, Rows([adapters]))
        try:
            yield
        finally:
            self._take_out(parts)

    def _put_in(self, parts: Sequence[str], rows: Rows) -> None:
        for (part, name), changed in self._changed.items():
            if part in parts:
                is_needed = changed.turn_to(rows)
                self._set(part, name, changed if is_needed else changed.layer)

    def _take_out(self, parts: Sequence[str]) -> None:
        for (part, name), changed in self._changed.items():
            if part in parts:
                self._set(part, name, changed.layer)
        self._is_in_unet = self._is_in_unet and "unet" not in parts

    def _set(self, part: str, name: str, module: nn.Module) -> None:
        parent, child = self.layers.parents[part, name]
        if parent._modules[child] is not module:
            parent._modules[child] = module  # as setattr does, which looks at much more
