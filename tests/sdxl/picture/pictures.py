"""Pictures for tests, and Pillow's own way to write and read them."""

import struct
import zlib
from collections.abc import Sequence
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


def chunk(kind: bytes, body: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with further chunks before its pixels."""
    plain, end_of_header = encoded(Image.new("RGB", (8, 8), "red"), "PNG"), 8 + 25
    return plain[:end_of_header] + b"".join(chunk(*one) for one in chunks) + plain[end_of_header:]


def png_of_row(
    width_px: int, depth: int, colour: int, row: bytes, *chunks: tuple[bytes, bytes], height_px: int = 1
) -> bytes:
    """A PNG of equal rows of samples as they are stored; `colour` is 0 gray, 2 RGB, 3 palette, 4 with alpha, 6 both."""
    header = struct.pack(">IIBBBBB", width_px, height_px, depth, colour, 0, 0, 0)
    pixels = zlib.compress((b"\0" + row) * height_px)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in parts)


def words(*samples: int) -> bytes:
    """Samples of 16 bits, as PNG has them."""
    return struct.pack(f">{len(samples)}H", *samples)


def row_of(picture: Image.Image) -> list[Any]:
    """The first row: levels, or lists of a pixel's levels."""
    found: Sequence[Any] = np.asarray(picture)[0].tolist()
    return list(found)
