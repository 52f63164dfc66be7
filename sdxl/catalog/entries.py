"""What requests can name: models, LoRAs, VAEs and embeddings, as their files and catalog.yaml say it.

All of it is plain data that nothing changes: a catalog is a snapshot of the files, and whoever loads what it names must
expect that the file has gone since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sdxl.config.presets import PresetName
from sdxl.config.settings import StageName
from sdxl.request.loras import Lora


@dataclass(frozen=True, kw_only=True)
class Model:
    """A whole checkpoint of SDXL's base or refiner."""

    name: str
    """As requests name it: its path below checkpoints/, with "/", without .safetensors; or its name in catalog.yaml."""
    reference: str
    """What `sdxl.config.references.located` takes: a path, a hub id or a Bento model."""
    kind: StageName
    """Whose layout it has. Of what is not on this machine: the refiner's, if something names it as one, else the
    base's. The refiner stage serves either kind."""
    fingerprint: str
    """Hex SHA-256 of what its pictures depend on: samples of its weights and of those of `vae` and `distilled`, and
    `preset`. It is no SHA-256 of the whole file. Of what is not on this machine, the reference counts."""
    config: str
    """Where it gets its configuration and tokenizers from, if it is a single file: a reference."""
    vae: str | None = None
    """A reference of a VAE instead of its own."""
    preset: PresetName | None = None
    distilled: str | None = None
    """A reference of a distilled model's weights, which go over its own."""
    refiner: str | None = None
    """The name of the model that refines its pictures unless the request says otherwise; None: none does."""
    loras: tuple[Lora, ...] = ()
    """Always applied."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Fields of `sdxl.request.settled.Defaults` that catalog.yaml sets, over those of the file's relay.json. Its texts
    for people are in `about`."""
    is_pinned: bool = False
    """Whether it stays loaded."""


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """A LoRA in one .safetensors file."""

    name: str
    path: Path
    stage: StageName | None = None
    """The stage whose setting names it; None: it is for whichever it fits."""
    fingerprint: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What people may want to read of the file's own: `title`, `trigger`, `base_model`, each if it is there."""


@dataclass(frozen=True, kw_only=True)
class VaeFile:
    """A VAE in one .safetensors file or in a folder in diffusers' format."""

    name: str
    path: Path
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A textual inversion in one .safetensors file."""

    name: str
    path: Path
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All of them at one time, by their names, in the order of the names."""

    models: Mapping[str, Model]
    loras: Mapping[str, tuple[LoraFile, ...]] = field(default_factory=dict)
    """One file for each name, or two: `SDXL_LORAS` and `SDXL_REFINER_LORAS` may have halves of one LoRA."""
    vaes: Mapping[str, VaeFile] = field(default_factory=dict)
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    """Why something is not offered, in one line: by the path of a file below the folder of models, by a setting, or by
    a field of catalog.yaml."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """The same by the name that a model or a LoRA would have."""
    default: str
    """The model of requests that name none. While its file is replaced, it may be among the faults."""
    refiner: str | None = None
    """The refiner of models that name none. It too may be among the faults."""

    def model(self, name: str) -> Model | None:
        """The model of exactly this name."""
        return self.models.get(name)

    def lora(self, name: str, stage: StageName) -> LoraFile | None:
        """The file that a stage would apply for a name: its own, or one for whichever it fits."""
        return next((file for file in self.loras.get(name, ()) if file.stage in (stage, None)), None)

    def of_kind(self, kind: StageName) -> list[Model]:
        """The models that can be this stage."""
        return [model for model in self.models.values() if model.kind == kind]
