"""What a message names when a model cannot be loaded: the setting that says it, or the model of the catalog."""

from __future__ import annotations

from typing import Literal

from sdxl.catalog.entries import Model
from sdxl.config.settings import Settings

Part = Literal["checkpoint", "config", "vae", "distilled"]


def label(part: Part, model: Model, settings: Settings) -> tuple[str, str]:
    """A name and its value, for `sdxl.files.check.named`."""
    settings_of = {"checkpoint": ("base", "refiner"), "config": (f"{model.kind}_config",)}.get(part, (part,))
    value = model.reference if part == "checkpoint" else getattr(model, part)
    for setting in settings_of:
        if getattr(settings, setting) == value:
            return f"SDXL_{setting.upper()}", value
    return ("model", model.name) if part == "checkpoint" else (f"model {model.name}: {part}", value)
