"""The catalog as it is at present."""

from __future__ import annotations

import hashlib

from sdxl.catalog.entries import Catalog, LoraFile, Model
from sdxl.config.settings import Settings


class Watched:
    def __init__(self, settings: Settings) -> None:
        models = {}
        if settings.base:
            models["sdxl"] = Model(
                name="sdxl",
                reference=settings.base,
                kind="base",
                fingerprint=_fp(settings.base, settings.vae, settings.distilled, settings.preset),
                config=settings.base_config,
                vae=settings.vae,
                preset=settings.preset,
                distilled=settings.distilled,
                refiner="sdxl-refiner" if settings.refiner else None,
            )
        if settings.refiner:
            models["sdxl-refiner"] = Model(
                name="sdxl-refiner",
                reference=settings.refiner,
                kind="refiner",
                fingerprint=_fp(settings.refiner, settings.vae, settings.preset),
                config=settings.refiner_config,
                vae=settings.vae,
                preset=settings.preset,
            )
        loras = {
            (name, "base"): LoraFile(name=name, path=path, stage="base", fingerprint=_fp(str(path)))
            for name, path in settings.loras.items()
        }
        loras |= {
            (name, "refiner"): LoraFile(name=name, path=path, stage="refiner", fingerprint=_fp(str(path)))
            for name, path in settings.refiner_loras.items()
        }
        self.catalog = Catalog(
            models=models, loras=loras, default="sdxl", refiner="sdxl-refiner" if settings.refiner else None
        )

    def refresh(self) -> bool:
        return False


def _fp(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
