"""A picture brought to a size, and the part of it that a mask is about."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from sdxl.picture.pixels import Size

FitMode = Literal["stretch", "crop", "pad"]
Box = tuple[int, int, int, int]  # left, top, right, bottom; the last two are outside

_LANCZOS = Image.Resampling.LANCZOS


def fitted(picture: Image.Image, size: Size, mode: FitMode) -> Image.Image:
    """The picture in exactly this size (width, height).

    stretch: its shape changes; crop: what is too much at two sides is cut off; pad: all of it is there, and two sides
    are filled with its outermost pixels.
    """
    if picture.size == size:
        return picture
    if mode == "stretch":
        return picture.resize(size, _LANCZOS)
    if mode == "crop":
        return ImageOps.fit(picture, size, _LANCZOS)
    inner = ImageOps.contain(picture, size, _LANCZOS)
    before = [(whole - part) // 2 for whole, part in zip(size, inner.size, strict=True)]
    across, down = ((first, whole - part - first) for first, whole, part in zip(before, size, inner.size, strict=True))
    pixels = np.asarray(inner)
    return Image.fromarray(np.pad(pixels, (down, across, *[(0, 0)] * (pixels.ndim - 2)), mode="edge"))


def box_around(mask: Image.Image, padding_px: int, size: Size) -> Box | None:
    """Where a mask (mode L) is not black, with some pixels around it, in the shape of `size` as far as there is room.

    None for a mask that is black everywhere.
    """
    found = mask.getbbox()
    if found is None:
        return None
    left, top, right, bottom = (edge + (padding_px if index > 1 else -padding_px) for index, edge in enumerate(found))
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, mask.width), min(bottom, mask.height)
    width, height = right - left, bottom - top
    if width * size[1] > height * size[0]:
        top, bottom = _widened(top, bottom, -(-width * size[1] // size[0]), mask.height)
    else:
        left, right = _widened(left, right, -(-height * size[0] // size[1]), mask.width)
    return left, top, right, bottom


def _widened(low: int, high: int, length: int, most: int) -> tuple[int, int]:
    """A stretch of this length, or all that there is, around another one."""
    length = min(length, most)
    first = min(max(low - (length - (high - low)) // 2, 0), most - length)
    return first, first + length
