"""Uploads are read in sRGB, whatever profile or chunk says what their levels mean."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from sdxl.picture.colour import in_srgb
from sdxl.picture.image import read_picture
from tests.sdxl.picture.pictures import encoded, png_of_row, row_of
from tests.sdxl.picture.profiles import ADOBE_RGB, DISPLAY_P3, SRGB, gray_profile, rgb_profile

P3 = rgb_profile(DISPLAY_P3, 2.2)


def colour(data: bytes) -> list[int]:
    """The first pixel."""
    found: list[int] = row_of(read_picture(data, max_bytes=10**7, max_pixels=10**6))[0]
    return found


def gray_levels(data: bytes) -> list[int]:
    return [pixel[0] for pixel in row_of(read_picture(data, max_bytes=10**7, max_pixels=10**6))]


@pytest.mark.parametrize("output_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("profile", "stored", "right"), [
    (P3, (60, 200, 60), (0, 205, 0)), (rgb_profile(ADOBE_RGB, 2.2), (60, 200, 60), (0, 201, 37)),
    (rgb_profile(SRGB, 1.8), (60, 100, 140), (77, 119, 158)), (rgb_profile(SRGB[::-1], 2.2), (255, 0, 0), (0, 0, 255)),
], ids=["Display P3", "Adobe RGB", "gamma 1.8", "red and blue exchanged"])  # fmt: skip
def test_a_profile(output_format: str, profile: bytes, stored: tuple[int, ...], right: tuple[int, ...]) -> None:
    options = {"quality": 100, "lossless": True}
    found = colour(encoded(Image.new("RGB", (8, 8), stored), output_format, icc_profile=profile, **options))
    assert np.abs(np.subtract(found, right)).max() <= (2 if output_format == "JPEG" else 1)


def test_the_alpha_stays_as_it_is() -> None:
    half = Image.new("RGBA", (8, 8), (60, 200, 60, 128))
    assert np.abs(np.subtract(colour(encoded(half, "PNG", icc_profile=P3)), (127, 230, 127))).max() <= 1
    gray = Image.new("LA", (8, 8), (64, 128))
    assert 160 < colour(encoded(gray, "PNG", icc_profile=gray_profile(1.0)))[0] < 200


def test_a_palette_and_16_bits() -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 60, 200, 60])
    assert colour(encoded(palette, "PNG", icc_profile=P3)) == [0, 205, 0]


@pytest.mark.parametrize("output_format", ["PNG", "JPEG"])
def test_gray(output_format: str) -> None:
    linear = encoded(Image.new("L", (8, 8), 64), output_format, icc_profile=gray_profile(1.0))
    assert np.abs(np.subtract(colour(linear), 137)).max() <= 1
    of_rgb = encoded(Image.new("L", (8, 8), 64), output_format, icc_profile=rgb_profile(SRGB, 1.0))
    assert np.abs(np.subtract(colour(of_rgb), 137)).max() <= 1


def test_cmyk() -> None:
    """With a profile that is none of CMYK, and without, it is read as it always was."""
    picture = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    plain = colour(encoded(picture, "JPEG", quality=100))
    assert np.abs(np.subtract(plain, (255, 0, 0))).max() <= 3
    assert colour(encoded(picture, "JPEG", quality=100, icc_profile=P3)) == plain


@pytest.mark.parametrize("profile", [
    b"", b"no profile", P3[:200], P3[:131], bytes(len(P3)), P3.replace(b"acsp", b"xxxx"), P3.replace(b"rTRC", b"zTRC"),
    gray_profile(1.0), P3.replace(b"RGB XYZ ", b"CMYKXYZ "), P3.replace(b"RGB XYZ ", b"3CLRXYZ "),
    *(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes() for space in ("LAB", "XYZ")),
], ids=lambda profile: ascii(profile[12:20] + profile[:6]))  # fmt: skip
@pytest.mark.parametrize("output_format", ["PNG", "JPEG", "WEBP"])
def test_a_profile_that_does_not_fit_is_left_out(profile: bytes, output_format: str) -> None:
    picture = Image.new("RGB", (8, 8), (60, 200, 60))
    options = {"lossless": True} if output_format == "WEBP" else {}
    with_it = encoded(picture, output_format, icc_profile=profile, **options)
    assert colour(with_it) == colour(encoded(picture, output_format, **options))


def test_srgb_changes_nothing() -> None:
    levels = np.arange(256, dtype=np.uint8)
    picture = Image.fromarray(np.stack([levels, levels[::-1], np.roll(levels, 99)], -1)[None])
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    read = read_picture(encoded(picture, "PNG", icc_profile=profile), max_bytes=10**6, max_pixels=10**6)
    assert np.abs(np.asarray(read).astype(int) - np.asarray(picture)).max() <= 1


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(P3) - 1), st.integers(0, 255)), max_size=6),
    st.sampled_from(["L", "RGB", "LA"]),
)
def test_a_broken_profile_is_used_or_left_out(changes: list[tuple[int, int]], mode: str) -> None:
    profile = bytearray(P3)
    for at, value in changes:
        profile[at] = value
    assert in_srgb(Image.new(mode, (4, 4), 99), {"icc_profile": bytes(profile)}).size == (4, 4)


# What PNG has beside profiles


def gama(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100_000 * gamma))


def chrm(*chromaticities: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(100_000 * value) for value in chromaticities))


SRGB_CHRM = chrm(0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
SAME = [0, 64, 128, 255]
LEVELS = bytes(SAME)


@pytest.mark.parametrize(("chunks", "right"), [
    ([], SAME), ([gama(1.0)], [0, 137, 188, 255]), ([gama(1.0), SRGB_CHRM], [0, 137, 188, 255]),
    ([gama(1 / 2.2)], SAME), ([gama(1 / 2.2), SRGB_CHRM], SAME), ([SRGB_CHRM], SAME),
    ([gama(0.55)], [0, 80, 146, 255]), ([gama(1.0), (b"sRGB", b"\0")], SAME), ([gama(0)], SAME),
    ([(b"gAMA", b"\0")], SAME), ([gama(1.0), chrm(0, 0, 0, 0, 0, 0, 0, 0)], [0, 137, 188, 255]),
    ([(b"cHRM", b"\0\0")], SAME), ([gama(1.0), gama(0.5)], [0, 137, 188, 255]),
    ([gama(1.0), (b"iCCP", b"x\0\0broken")], [0, 137, 188, 255]),
], ids=lambda value: ascii(value)[:60])  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "RGB"])
def test_gamma(chunks: list[tuple[bytes, bytes]], right: list[int], channels: int) -> None:
    row = bytes(level for level in LEVELS for _ in range(channels))
    assert gray_levels(png_of_row(4, 8, 0 if channels == 1 else 2, row, *chunks)) == right


@pytest.mark.parametrize(("code_points", "right"), [
    ((1, 13, 0, 1), (60, 200, 60)), ((12, 13, 0, 1), (0, 203, 11)), ((9, 13, 0, 1), (0, 211, 0)),
    ((12, 8, 0, 1), (94, 232, 121)), ((1, 8, 0, 1), (133, 229, 133)), ((12, 4, 0, 1), (0, 203, 11)),
], ids=str)  # fmt: skip
def test_code_points(code_points: tuple[int, ...], right: tuple[int, int, int]) -> None:
    """They count before a profile and whatever else there is."""
    others = [(b"iCCP", b"x\0\0" + zlib.compress(rgb_profile(DISPLAY_P3, 1.8))), (b"sRGB", b"\0"), gama(0.5)]
    found = colour(png_of_row(1, 8, 2, bytes((60, 200, 60)), (b"cICP", bytes(code_points)), *others))
    assert np.abs(np.subtract(found, right)).max() <= 1


@pytest.mark.parametrize("code_points", [
    b"", b"\x0c", bytes((12, 13)), bytes((12, 13, 0, 1, 0)), bytes((12, 13, 1, 1)), bytes((12, 13, 0, 0)),
    bytes((9, 16, 0, 1)), bytes((9, 18, 0, 1)), bytes((2, 2, 0, 1)), b"\xff" * 4,
], ids=repr)  # fmt: skip
def test_other_code_points_are_left_out(code_points: bytes) -> None:
    chunks = [(b"cICP", code_points), gama(1.0)]
    assert gray_levels(png_of_row(4, 8, 0, LEVELS, *chunks)) == [0, 137, 188, 255]


@pytest.mark.parametrize("stored", [(90, 150, 100), (60, 200, 60), (200, 40, 90), (255, 255, 255)])
def test_chromaticities(stored: tuple[int, int, int]) -> None:
    """Display P3's with a gamma of 1.8: as a profile says the same."""
    p3 = chrm(0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
    found = colour(png_of_row(1, 8, 2, bytes(stored), gama(1 / 1.8), p3))
    profile = rgb_profile(DISPLAY_P3, 1.8)
    right = colour(encoded(Image.new("RGB", (1, 1), stored), "PNG", icc_profile=profile))
    assert np.abs(np.subtract(found, right)).max() <= 2


def test_another_white_stays_white() -> None:
    d50 = chrm(0.3457, 0.3585, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
    assert gray_levels(png_of_row(4, 8, 2, bytes(level for level in LEVELS for _ in range(3)), d50)) == [
        0,
        64,
        128,
        255,
    ]
