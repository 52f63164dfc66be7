"""What a runner is for a request's model, for the entry to see that replicas and stages agree."""

from __future__ import annotations

import json
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Identity(BaseModel):
    """Replicas of one stage must agree in all of it, base and refiner in what is `SHARED` and in the schedule."""

    model_config = ConfigDict(frozen=True)
    SHARED: ClassVar = ("handoff_version", "latent_scale")

    checkpoint: str
    """The fingerprint of the model's files."""
    dtype: str
    backend: str
    """What computes the models: torch and others differ by a level or two."""
    handoff_version: str
    schedule: str
    """What decides timesteps and their noise, as euler has it, in canonical JSON: with two, they would not tile."""
    latent_scale: float
    """The VAE's scaling factor, by which latents are multiplied."""
    loras: tuple[str, ...] = ()
    """Fingerprints of the LoRAs that a request names."""

    def disagreements(self, refiner: Identity) -> list[str]:
        """What keeps a base with this identity from working with the refiner; empty if they fit."""
        pairs = [(name, getattr(self, name), getattr(refiner, name)) for name in self.SHARED]
        own, others = json.loads(self.schedule), json.loads(refiner.schedule)
        pairs += [(key, own.get(key), others.get(key)) for key in sorted({*own, *others})]
        return [f"{name}: base {base}, refiner {other}" for name, base, other in pairs if base != other]
