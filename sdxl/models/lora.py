"""LoRAs in a stage's pipeline: loaded at start by diffusers' own loader, and switched between jobs."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer

from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.errors import invalid_field
from sdxl.request.loras import Adapters, Loras, adapters

PARTS = ("unet", "text_encoder", "text_encoder_2")


@dataclass(frozen=True)
class _Place:
    """Where a model has a layer that a LoRA changes."""

    parent: Any  # torch.nn.Module
    name: str  # of the layer, in its parent
    layer: Any  # BaseTunerLayer: peft's, around the model's own


class LoadedLoras:
    """The LoRAs of one stage. At first none is active; only the engine's thread switches them."""

    def __init__(self, pipeline: Any, digests: Mapping[str, str]) -> None:
        """`digests` has the SHA-256 of the file of each LoRA that the pipeline has, in the order of their loading."""
        self._places = _places(pipeline) if digests else []
        self._inner_names = {name: inner_name(index) for index, name in enumerate(digests)}
        self.digests = digests
        self.active: Adapters = ()

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
        """Makes these the active ones, in the UNet and in the text encoders.

        What diffusers' `set_adapters` and `disable_lora` do. But these look for the layers among all modules and tell
        each parameter whether it is trained: 50 ms of Python for a full-size UNet each time, and here 6. And layers
        that are only disabled make each call slower: here, where none of those wanted is, the model has its own layer.
        """
        scales = {self._inner_names[name]: scale for name, scale in wanted}
        for place in self._places:
            here = [name for name in scales if name in place.layer.scaling]
            place.layer._active_adapter = here
            for name in here:
                place.layer.set_scale(name, scales[name])
            setattr(place.parent, place.name, place.layer if here else place.layer.base_layer)
        self.active = wanted


def inner_name(index: int) -> str:
    """What a LoRA is called inside the pipeline: torch has no place for a dot in a module's name."""
    return f"adapter_{index}"


def load_loras(pipeline: Any, stage: StageName, settings: Settings) -> LoadedLoras:
    """Loads those of the settings. Raises ConfigurationError for a file that is not there, or does not fit."""
    files = settings.loras if stage == "base" else settings.refiner_loras
    setting = "SDXL_LORAS" if stage == "base" else "SDXL_REFINER_LORAS"
    digests: dict[str, str] = {}
    for index, (name, path) in enumerate(files.items()):
        try:
            _load(pipeline, path, inner_name(index))
            with path.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        except Exception as error:  # diffusers' converters raise many kinds for files that are no LoRA of this model
            cause = _first(error)
            raise ConfigurationError(
                f"{setting}: {name}={path} cannot be loaded: {type(cause).__name__}: {cause!s:.300}"
            ) from error
    loras = LoadedLoras(pipeline, digests)
    if digests:
        loras.switch(())  # what is loaded is active
    return loras


def _load(pipeline: Any, path: Path, adapter: str) -> None:
    """Raises ValueError if not every tensor of the file has found its place: diffusers only warns of the others."""
    options = {"use_safetensors": True, "local_files_only": True}  # with the first, nothing is ever unpickled
    found, _ = pipeline.lora_state_dict(str(path), unet_config=pipeline.unet.config, **options)
    strangers = [key for key in found if getattr(pipeline, key.split(".")[0], None) is None or "lora" not in key]
    if strangers or not found:
        raise ValueError(f"it is no LoRA for this model's {', '.join(_parts(pipeline))}: it has {_some(strangers)}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # that is as it should be
        pipeline.load_lora_weights(str(path), adapter_name=adapter, **options)
    loaded = sum(_count(getattr(pipeline, part), adapter) for part in _parts(pipeline))
    if loaded != len(found):
        raise ValueError(f"of its {len(found)} tensors, the model has a place for {loaded}")


def _places(pipeline: Any) -> list[_Place]:
    return [
        _Place(parent, name, child)
        for part in _parts(pipeline)
        for parent in getattr(pipeline, part).modules()
        for name, child in parent.named_children()
        if isinstance(child, BaseTunerLayer)
    ]


def _parts(pipeline: Any) -> list[str]:
    return [part for part in PARTS if getattr(pipeline, part, None) is not None]


def _first(error: BaseException) -> BaseException:
    """diffusers may fail again while it puts things in order."""
    return error if error.__context__ is None else _first(error.__context__)


def _count(model: Any, adapter: str) -> int:
    return sum(f".{adapter}." in f"{name}." for name, _ in model.named_parameters())


def _some(keys: list[str]) -> str:
    return f"{keys[0]:.100}" if keys else "no tensors"


def check_loras(loras: Loras, known: Mapping[str, object]) -> None:
    """Raises RelayError (400) for a name that is not known."""
    for lora in loras or ():
        if lora.name not in known:
            allowed = ", ".join(sorted(known)) or "none, for the server has no LoRAs"
            raise invalid_field("loras", lora.name, allowed)
