"""An edit's kept part is the original's."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sdxl.picture.mask import paste_original

EDITED, ORIGINAL = (Image.new("RGB", (64, 8), (level, level, level)) for level in (200, 0))


def pasted(mask: Image.Image, edited: Image.Image = EDITED) -> list[int]:
    row: list[int] = np.asarray(paste_original(edited, ORIGINAL, mask))[4, :, 0].tolist()
    return row


def half_white(level: int = 255) -> Image.Image:
    mask = Image.new("L", (64, 8))
    mask.paste(level, (0, 0, 32, 8))
    return mask


def test_the_edit_is_whole_under_the_mask_and_fades_out_within_some_8_pixels() -> None:
    row = pasted(half_white())
    assert row[:32] == [200] * 32
    assert row == sorted(row, reverse=True)
    assert 50 < row[35] < 150
    assert row[40] < 20
    assert row[46:] == [0] * 18


def test_what_is_repainted_is_whole_and_less_gray_mixes() -> None:
    assert pasted(half_white(128))[:16] == [200] * 16
    assert 99 <= pasted(half_white(64))[0] <= 101


def test_a_mask_that_is_all_white_or_black() -> None:
    assert pasted(Image.new("L", (64, 8), 255)) == [200] * 64
    assert pasted(Image.new("L", (64, 8), 0)) == [0] * 64


def test_the_edit_may_be_smaller() -> None:
    smaller = Image.new("RGB", (56, 8), (200, 200, 200))
    assert paste_original(smaller, ORIGINAL, half_white()).size == (56, 8)
