"""Pictures for tests, and Pillow's own way to write and read them."""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def textured(height_px: int, width_px: int, seed: int = 0) -> Pixels:
    """Smooth waves, patches of 8 x 8 pixels and a little grain: [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x, channel = np.ogrid[:height_px, :width_px, :3]
    waves = 128 + 60 * np.sin(x / (40 + 9 * channel) + channel + seed) + 40 * np.cos(y / (31 + 7 * channel))
    patches = random.normal(0, 6, (height_px // 8 + 1, width_px // 8 + 1, 3)).repeat(8, 0).repeat(8, 1)
    grain = random.normal(0, 3, waves.shape)
    pixels: Pixels = (waves + patches[:height_px, :width_px] + grain).clip(0, 255).round().astype(np.uint8)
    return pixels


def decoded(data: bytes) -> Pixels:
    with Image.open(BytesIO(data)) as picture:
        return np.asarray(picture.convert("RGB"))


def encoded(picture: Image.Image, output_format: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, output_format, **options)
    return buffer.getvalue()
