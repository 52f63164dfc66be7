"""The invisible watermark: written as diffusers writes it (invisible-watermark's dwtDct), read more patiently.

dwtDct works on U of YUV, averaged over cells of 2 x 2 pixels and doubled. Each block of 4 x 4 cells carries one
bit, the same 48 bits over and over, row by row: the cell of the largest magnitude (never the block's first) is
moved to 9 above a multiple of 36 for a 0, to 27 above it for a 1.

invisible-watermark's own reader looks at the largest cell. In a flat area that is often another than the one
that was moved down, so that it fails on plain backgrounds, and after JPEG's coarser colours nothing is left of
single cells. So two other readings are made, and the better one counts:

- `_by_cells` weighs all cells of a block by how far they stand out, and asks what each says of the bit.
- `_by_means` compares a block's mean with those of similar blocks in its row: a 1 lifts it by 18 / 16 more than a 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WATERMARK_BITS = [int(bit) for bit in "101100111110110010010000011110111011000110011110"]  # diffusers' own
WATERMARK_MIN_WIDTH_PX = 256  # diffusers leaves narrower pictures as they are
WATERMARK_MIN_PIXELS = 256 * 256  # invisible-watermark refuses smaller ones

PRESENT_FROM = 0.68  # correlation of 48 values; by chance 5.3e-8 reach it (Student's t, 46 degrees of freedom)
MAX_SIZES = 9
FALSE_POSITIVE_RATE = 1e-6
"""At most, for a picture without watermark: MAX_SIZES x 2 readings x 5.3e-8."""

SCALES = [Fraction(*scale) for scale in ((4, 3), (2, 1), (3, 2), (3, 4), (1, 2), (2, 3))]
SDXL_SIZES = [(1024, 1024), (1152, 896), (1216, 832), (1344, 768), (1536, 640)]

_STEP, _ZERO, _ONE = 36.0, 9.0, 27.0
_BLOCK_PX = 8
_SIGNS = np.array(WATERMARK_BITS) * 2.0 - 1.0

Plane = NDArray[np.float32]
Size = tuple[int, int]  # width, height


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was read of the watermark, with the picture at a size of `width` x `height` pixels."""

    width: int
    height: int
    correlation: float
    """Between the 48 bits and how clearly each is read as a 1: 1.0 if all is well, about 0 without watermark."""
    bits_right_share: float

    @property
    def is_present(self) -> bool:
        """Whether there is a watermark; wrong for at most FALSE_POSITIVE_RATE of the pictures without."""
        return self.correlation >= PRESENT_FROM


def is_large_enough(width: int, height: int) -> bool:
    """Whether a picture of this size can carry the watermark."""
    return width >= WATERMARK_MIN_WIDTH_PX and height * width >= WATERMARK_MIN_PIXELS


def with_watermark(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a marked copy of `pixels` [height, width, 3], RGB, as diffusers marks it."""
    from imwatermark import WatermarkEncoder  # brings torch, which the entry needs for nothing else

    bgr = np.ascontiguousarray(pixels[:, :, ::-1], dtype=np.float32)
    encoder = WatermarkEncoder()
    encoder.set_watermark("bits", WATERMARK_BITS)
    marked = encoder.encode(bgr, "dwtDct")
    rounded: NDArray[np.uint8] = marked[:, :, ::-1].clip(0, 255).round().astype(np.uint8)
    return rounded


def find_watermark(picture: Image.Image, *, made_as: Size | None = None, max_pixels: int) -> Reading | None:
    """Look for the watermark in an RGB picture, also if it was resized. None if it is too small to have one.

    `made_as` is the size that its metadata tells. The watermark can only be read at the size at which it was
    written, so that one is tried first, then the picture's own, then a few others, none of more than `max_pixels`.
    """
    plane = Image.fromarray(_u_plane(np.asarray(picture)))
    best = None
    for width, height in sizes_to_try(picture.size, made_as, max_pixels):
        resized = plane.resize((width, height), Image.Resampling.LANCZOS)
        reading = _read(np.asarray(resized), width, height)
        if best is None or reading.correlation > best.correlation:
            best = reading
        if best.is_present:
            break
    return best


def sizes_to_try(size: Size, made_as: Size | None, max_pixels: int) -> list[Size]:
    """The sizes at which a picture may have been made, the likeliest first, MAX_SIZES at most."""
    width, height = size
    scaled = [(_multiple_of_8(width * scale), _multiple_of_8(height * scale)) for scale in SCALES]
    usual = [one for pair in SDXL_SIZES for one in (pair, pair[::-1]) if _is_same_shape(one, size)]
    found = dict.fromkeys([*([made_as] if made_as else []), size, *usual[:1], *scaled])
    return [one for one in found if is_large_enough(*one) and one[0] * one[1] <= max_pixels]


def _multiple_of_8(length: Fraction) -> int:
    return round(length / 8) * 8


def _is_same_shape(one: Size, other: Size) -> bool:
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) < 0.01


def _u_plane(pixels: NDArray[np.uint8]) -> Plane:
    """U of `pixels` [height, width, 3], as OpenCV computes it from floats."""
    luma = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
    plane: Plane = ((pixels[:, :, 2] - luma) * np.float32(0.492) + np.float32(0.5)).astype(np.float32)
    return plane


def _read(plane: Plane, width: int, height: int) -> Reading:
    rows, columns = height // _BLOCK_PX, width // _BLOCK_PX
    plane = plane[: rows * _BLOCK_PX, : columns * _BLOCK_PX]
    cells = plane.reshape(rows, 4, 2, columns, 4, 2).sum((2, 5)) / 2  # [rows, 4, columns, 4]
    cells = np.abs(cells.swapaxes(1, 2).reshape(rows, columns, 16))
    readings = (_by_cells(cells[:, :, 1:]), _by_means(cells.mean(2)))
    return max((_compared(said, width, height) for said in readings), key=lambda reading: reading.correlation)


def _by_cells(cells: Plane, blur: float = 6.0) -> Plane:
    """How clearly each block [rows, columns, 15 cells] says 1 (above 0) or 0 (below).

    `blur` is the standard deviation, in levels, of what may have happened to a cell since.
    """
    standing_out = np.abs(cells - np.median(cells, 2, keepdims=True))
    usual = np.sort(standing_out, 2)[:, :, :-1].mean(2, keepdims=True) + 1.0
    weight = np.exp((standing_out - standing_out.max(2, keepdims=True)) / usual)
    multiple = np.floor(cells / _STEP)
    weight = weight * np.where(multiple == multiple.max(2, keepdims=True), 1.0, 1e-3)  # it was the largest
    weight /= weight.sum(2, keepdims=True)

    def likelihood(of: float) -> Plane:
        near: Plane = np.exp(-(((cells % _STEP) - of) ** 2) / (2 * blur**2))
        return (weight * near).sum(2) + 0.05  # 0.05: it may also be anything else

    return np.log(likelihood(_ONE) / likelihood(_ZERO))


def _by_means(means: Plane, similar: float = 3.0, reach: int = 20) -> Plane:
    """How far each block's mean [rows, columns] is above those of blocks in its row, `reach` to each side.

    Blocks that differ by `similar` or more do not count: there is an edge between.
    """
    columns = means.shape[1]
    around = np.pad(means, ((0, 0), (reach, reach)), constant_values=np.inf)
    total, count = np.zeros_like(means), np.zeros_like(means)
    for column in range(2 * reach + 1):
        above = means - around[:, column : column + columns]
        is_similar = np.abs(above) < similar
        total += np.where(is_similar, above, 0.0)
        count += is_similar
    return np.where(count >= reach / 4, total / count, 0.0)  # a block with few like it says nothing


def _compared(said: Plane, width: int, height: int) -> Reading:
    """What all blocks say together, beside the bits that are looked for."""
    bits = len(WATERMARK_BITS)
    total = np.bincount(np.arange(said.size) % bits, said.ravel(), bits).astype(np.float64)
    total -= total.mean()
    spread = float(total.std())
    correlation = float(np.mean(total * (_SIGNS - _SIGNS.mean())) / (spread * _SIGNS.std())) if spread > 1e-9 else 0.0
    right = float(np.mean((total > 0) == (_SIGNS > 0)))
    return Reading(width=width, height=height, correlation=correlation, bits_right_share=right)
