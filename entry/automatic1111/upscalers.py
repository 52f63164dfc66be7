"""Ways to enlarge a picture, by AUTOMATIC1111's names. A model that enlarges would be one more function here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image

from sdxl.errors import invalid_field
from sdxl.picture.pixels import Size

Enlarge = Callable[[Image.Image, Size], Image.Image]
"""From a picture (RGB) to one of exactly that size (width, height)."""


def _resampled(by: Image.Resampling) -> Enlarge:
    return lambda picture, size: picture.resize(size, by)


UPSCALERS: Mapping[str, Enlarge | None] = {
    "None": None,  # the picture stays as it is
    "Lanczos": _resampled(Image.Resampling.LANCZOS),
    "Nearest": _resampled(Image.Resampling.NEAREST),
}


def upscaler_named(name: str, field: str) -> Enlarge | None:
    """Raises RelayError (400) for one that is not there."""
    for known, enlarge in UPSCALERS.items():
        if known.lower() == name.strip().lower():
            return enlarge
    raise invalid_field(field, name, ", ".join(UPSCALERS))
