"""Pictures brought to a size, and boxes around masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdxl.picture.fill import filled
from sdxl.picture.fit import box_around, fitted


def columns(width: int, height: int) -> Image.Image:
    """Its levels are the numbers of the columns."""
    return Image.fromarray(np.tile(np.arange(width, dtype=np.uint8), (height, 1)))


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(40, 20), (20, 40), (80, 80), (33, 7)])
def test_it_has_exactly_the_size(mode: Any, size: tuple[int, int]) -> None:
    for picture in (columns(80, 40), columns(80, 40).convert("RGB")):
        made = fitted(picture, size, mode)
        assert (made.size, made.mode) == (size, picture.mode)


def test_what_is_cut_off_and_what_is_added() -> None:
    crop = np.asarray(fitted(columns(80, 40), (40, 40), "crop"))
    pad = np.asarray(fitted(columns(80, 40), (40, 40), "pad"))
    assert (crop[:, 0].min(), crop[:, -1].max()) == (20, 59)
    assert pad[0].tolist() == pad[20].tolist() == pad[-1].tolist()
    assert pad[20, 0] < 2
    assert pad[20, -1] > 77


SIDES = st.integers(1, 200)


@given(SIDES, SIDES, SIDES, SIDES, SIDES, SIDES, st.integers(0, 50), st.data())
def test_the_box_has_the_mask_in_it_and_the_wanted_shape(
    width: int, height: int, mask_width: int, mask_height: int, to_width: int, to_height: int, padding: int,
    data: st.DataObject,
) -> None:  # fmt: skip
    inner = min(width, mask_width), min(height, mask_height)
    left, top = (data.draw(st.integers(0, whole - part)) for whole, part in zip((width, height), inner, strict=True))
    mask = Image.new("L", (width, height))
    mask.paste(1, (left, top, left + inner[0], top + inner[1]))
    box = box_around(mask, padding, (to_width, to_height))
    assert box is not None
    assert 0 <= box[0] <= max(0, left - padding)
    assert 0 <= box[1] <= max(0, top - padding)
    assert min(width, left + inner[0] + padding) <= box[2] <= width
    assert min(height, top + inner[1] + padding) <= box[3] <= height
    got = box[2] - box[0], box[3] - box[1]
    if got[0] < width and got[1] < height:  # there was room for its shape: to the pixel
        assert abs(got[0] * to_height - got[1] * to_width) < max(to_width, to_height)


def test_a_black_mask_has_no_box() -> None:
    assert box_around(Image.new("L", (8, 8)), 4, (8, 8)) is None


@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 255))
def test_one_colour_goes_on_wherever_the_mask_is(width: int, height: int, level: int) -> None:
    mask = Image.fromarray(np.random.default_rng(width).integers(0, 256, (height, width), dtype=np.uint8))
    mask.putpixel((0, 0), 0)
    picture = Image.new("RGB", (width, height), (level, 10, 20))
    assert np.abs(np.asarray(filled(picture, mask)).astype(int) - [level, 10, 20]).max() <= 1


def test_colours_go_on_from_their_own_side() -> None:
    picture = Image.new("RGB", (96, 64), "red")
    picture.paste("blue", (48, 0, 96, 64))
    picture.paste("lime", (32, 16, 64, 48))
    mask = Image.new("L", picture.size)
    mask.paste(255, (32, 16, 64, 48))
    made = np.asarray(filled(picture, mask)).astype(int)
    assert made[..., 1].max() <= 1, "nothing is left of what was masked"
    assert made[32, 36, 0] > made[32, 36, 2]
    assert made[32, 60, 2] > made[32, 60, 0]
    kept = np.asarray(mask) == 0
    assert (made[kept] == np.asarray(picture)[kept]).all()


def test_where_nothing_is_known_it_is_black() -> None:
    assert not np.asarray(filled(Image.new("RGB", (9, 5), "red"), Image.new("L", (9, 5), "white"))).any()
