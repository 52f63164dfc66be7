"""LoRAs in a stage's pipeline: loaded at start, and switched between jobs."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sdxl.config.settings import Settings, StageName
from sdxl.errors import invalid_field
from sdxl.files.check import named
from sdxl.models.changes import Change
from sdxl.models.lora_file import read_lora
from sdxl.models.lora_names import Place
from sdxl.request.loras import Adapters, Loras, adapters


class ChangedLayer(nn.Module):
    """A model's layer with the changes that are active, each with its strength."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.active: list[tuple[Change, float]] = []

    def __getattr__(self, name: str) -> Any:
        """The layer's own weight and sizes, which pipelines ask for."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, and what the changes add to it."""
        output: Tensor = self.layer(x)
        changed = output
        for change, strength in self.active:
            changed = changed + change.added(self.layer, x, output) * (strength * change.scale)
        return changed


class LoadedLoras:
    """The LoRAs of one stage. At first none is active; only the engine's thread switches them."""

    def __init__(
        self, pipeline: Any, changes: Mapping[str, Mapping[Place, list[Change]]], digests: Mapping[str, str]
    ) -> None:
        """`changes` has those of each LoRA by its name, and `digests` the SHA-256 of its file."""
        self.digests = digests
        self.active: Adapters = ()
        by_place: dict[Place, dict[str, list[Change]]] = defaultdict(dict)
        for name, of_places in changes.items():
            for place, here in of_places.items():
                by_place[place][name] = here
        self._places = [(*_place(pipeline, *place), here) for place, here in by_place.items()]

    @property
    def digest(self) -> str:
        """SHA-256 over all names and files; empty if there are none."""
        if not self.digests:
            return ""
        return hashlib.sha256(json.dumps(self.digests, sort_keys=True).encode()).hexdigest()

    def chosen(self, loras: Loras) -> Adapters:
        """Those of a request's that this stage has."""
        return adapters(loras, self.digests)

    def applied(self, loras: Loras) -> dict[str, str]:
        """The digests of `chosen`, by their names."""
        return {name: self.digests[name] for name, _ in self.chosen(loras)}

    def switch(self, wanted: Adapters) -> None:
        """Makes these the active ones, in the UNet and in the text encoders; it takes a few milliseconds.

        Where none of them changes a layer, the model has its own there, which is faster.
        """
        for parent, child, changed, changes in self._places:
            changed.active = [(change, strength) for name, strength in wanted for change in changes.get(name, ())]
            setattr(parent, child, changed if changed.active else changed.layer)
        self.active = wanted


def load_loras(pipeline: Any, stage: StageName, settings: Settings) -> LoadedLoras:
    """Loads those of the settings. Raises ConfigurationError for a file that is not there, or does not fit."""
    files = settings.loras if stage == "base" else settings.refiner_loras
    changes, digests = {}, {}
    for name, path in files.items():
        with named("SDXL_LORAS" if stage == "base" else "SDXL_REFINER_LORAS", f"{name}={path}"):
            changes[name] = read_lora(path, pipeline)
            digests[name] = _sha256(path)
    return LoadedLoras(pipeline, changes, digests)


def _place(pipeline: Any, part: str, name: str) -> tuple[nn.Module, str, ChangedLayer]:
    """Where a layer is: its parent, its name there, and what is there in its place while it is changed."""
    parent, _, child = name.rpartition(".")
    model = getattr(pipeline, part)
    return model.get_submodule(parent), child, ChangedLayer(model.get_submodule(name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_loras(loras: Loras, known: Mapping[str, object]) -> None:
    """Raises RelayError (400) for a name that is not known."""
    for lora in loras or ():
        if lora.name not in known:
            allowed = ", ".join(sorted(known)) or "none, for the server has no LoRAs"
            raise invalid_field("loras", lora.name, allowed)
