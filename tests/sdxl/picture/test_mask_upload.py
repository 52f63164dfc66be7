"""Uploaded masks: two conventions of what is to be repainted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdxl.picture.image import PictureTooLargeError, UnsupportedPictureError
from sdxl.picture.mask import MaskConvention, read_mask
from tests.sdxl.picture.pictures import encoded


def levels(mask: Image.Image, repaint: MaskConvention, output_format: str = "PNG") -> list[int]:
    """Of a mask of one row."""
    read = read_mask(encoded(mask, output_format), repaint=repaint, max_bytes=1_000_000, max_pixels=1_000)
    assert (read.mode, read.size) == ("L", mask.size)
    row: list[int] = np.asarray(read)[0].tolist()
    return row


def row(mode: str, *pixels: Any) -> Image.Image:
    mask = Image.new(mode, (len(pixels), 1))
    mask.putdata(pixels)
    return mask


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "LA", "P"])
def test_white_is_repainted(mode: str) -> None:
    assert levels(row("L", 0, 255, 0).convert(mode), "white") == [0, 255, 0]


def test_between_black_and_white() -> None:
    assert levels(row("L", 0, 100, 128, 255), "white") == [0, 100, 128, 255]
    assert levels(row("RGB", (255, 255, 255), (255, 0, 0), (0, 0, 0)), "white") == [255, 76, 0]


def test_a_layer_of_white_strokes_on_nothing() -> None:
    strokes = row("RGBA", (255, 255, 255, 255), (255, 255, 255, 0), (0, 0, 0, 0), (255, 255, 255, 128))
    assert levels(strokes, "white") == [255, 0, 0, 128]


def test_transparent_is_repainted_if_the_convention_is_openais() -> None:
    mask = row("RGBA", (9, 9, 9, 0), (255, 255, 255, 255), (0, 0, 0, 255), (0, 0, 0, 55))
    assert levels(mask, "transparent") == [255, 0, 0, 200]
    assert levels(row("LA", (0, 0), (255, 255)), "transparent") == [255, 0]


def test_white_is_repainted_if_nothing_is_transparent() -> None:
    assert levels(row("L", 0, 255), "transparent") == [0, 255]
    assert levels(row("LA", (0, 255), (255, 255)), "transparent") == [0, 255]


def test_masks_have_the_limits_of_pictures() -> None:
    data = encoded(Image.new("L", (80, 60), 255), "PNG")
    assert read_mask(data, repaint="white", max_bytes=1_000_000, max_pixels=1_200).size == (40, 24)
    with pytest.raises(PictureTooLargeError, match="8000 x 8000 = 64000000 pixels, allowed are 50000000"):
        read_mask(encoded(Image.new("1", (8_000, 8_000)), "PNG"), repaint="white", max_bytes=10**6, max_pixels=1_000)
    with pytest.raises(PictureTooLargeError, match="bytes, allowed are 10"):
        read_mask(data, repaint="white", max_bytes=10, max_pixels=2_000)
    with pytest.raises(UnsupportedPictureError):
        read_mask(b"a mask", repaint="white", max_bytes=1_000_000, max_pixels=1_000)
