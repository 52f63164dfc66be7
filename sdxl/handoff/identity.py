"""What a runner says of itself, for the entry to see that replicas and stages agree."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Identity(BaseModel):
    """Replicas of one stage must agree in all of it, base and refiner in what is `SHARED`."""

    model_config = ConfigDict(frozen=True)
    SHARED: ClassVar = ("handoff_version", "sampler", "latent_scale")

    checkpoint: str
    """SHA-256 of the checkpoint's files."""
    dtype: str
    backend: str
    """What computes the models: torch and others differ by a level or two."""
    handoff_version: str
    sampler: str
    """SHA-256 of the configuration that samplers are made from, as euler has it: with two, timesteps would not tile."""
    latent_scale: float
    """The VAE's scaling factor, by which latents are multiplied."""
    loras: str = ""
    """SHA-256 over the LoRAs' names and files; empty if there are none."""

    def disagreements(self, refiner: Identity) -> list[str]:
        """What keeps a base with this identity from working with the refiner; empty if they fit."""
        return [
            f"{name}: base {getattr(self, name)}, refiner {getattr(refiner, name)}"
            for name in self.SHARED
            if getattr(self, name) != getattr(refiner, name)
        ]
