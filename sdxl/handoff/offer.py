"""What a runner says of itself: which models it offers, and how soon it could work on each.

The entry asks each runner each second for its `Status` (/readyz), and for its `Offer` (/offer) when that has changed.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Literal

from pydantic import BaseModel, ConfigDict

from sdxl.handoff.identity import Identity
from sdxl.request.settled import Card


class OfferedFile(BaseModel):
    """A LoRA, a VAE or an embedding that requests can name."""

    model_config = ConfigDict(frozen=True)

    name: str
    file: str
    """Its path in its folder; for what the settings name, the file's name."""
    fingerprint: str
    sha256: str | None = None
    """Of the whole file; known once it has been loaded."""


class OfferedModel(OfferedFile):
    """A checkpoint that requests can name. One from a hub or from BentoML's store has its reference as `file`."""

    kind: Literal["base", "refiner"]
    """What its UNet is. The refiner stage takes both, the base stage the first."""
    schedule: str
    """What decides timesteps and their noise, as euler has it, in canonical JSON: with two, they would not tile."""
    latent_scale: float
    """The VAE's scaling factor, by which latents are multiplied."""
    card: Card
    refiner: str | None = None
    """The model that refines its pictures where a request names none; "none" for none at all, and None for the refiner
    stage's default."""
    size_bytes: int
    """Of its weights, once they are loaded."""


class Offer(BaseModel):
    """All that a runner offers."""

    model_config = ConfigDict(frozen=True)

    dtype: str
    backend: str
    """What computes the models: torch and others differ by a level or two."""
    handoff_version: str
    default: str
    """The model of requests that name none."""
    models: tuple[OfferedModel, ...]
    loras: tuple[OfferedFile, ...] = ()
    vaes: tuple[OfferedFile, ...] = ()
    embeddings: tuple[OfferedFile, ...] = ()
    faults: dict[str, str] = {}
    """The files that cannot be loaded, each with the reason in one line."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def model(self, name: str | None) -> OfferedModel | None:
        """That of the name; None for one that is not offered."""
        wanted = name or self.default
        return next((model for model in self.models if model.name == wanted), None)

    def identity(self, name: str | None, loras: tuple[str, ...] = ()) -> Identity | None:
        """What replicas must agree in to share the jobs of this model with these LoRAs; None for what it lacks."""
        model = self.model(name)
        fingerprints = {lora.name: lora.fingerprint for lora in self.loras}
        if model is None or not fingerprints.keys() >= set(loras):
            return None
        return Identity(
            checkpoint=model.fingerprint,
            dtype=self.dtype,
            backend=self.backend,
            handoff_version=self.handoff_version,
            schedule=model.schedule,
            latent_scale=model.latent_scale,
            loras=tuple(fingerprints[name] for name in loras),
        )


class Status(BaseModel):
    """How a runner is at present."""

    model_config = ConfigDict(frozen=True)

    offer: str
    """The digest of its `Offer`."""
    resident: tuple[str, ...]
    """The models that it can work on at once."""
    load_s: float
    """About how long a model takes to load, in seconds."""
    seconds_per_work: float
    """Of the engine's unit of work (rows x latent pixels x steps)."""
    room_bytes: int
    """What is free for more models; the least recently used make room beyond that."""
