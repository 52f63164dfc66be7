"""PNG files whose chunks Pillow would refuse or read otherwise."""

from __future__ import annotations

import zlib

import pytest

from sdxl.picture.image import BrokenPictureError, opened_picture, read_picture
from sdxl.picture.mask import read_mask
from tests.sdxl.picture.pictures import chunk, png_of_row, png_with, row_of, words
from tests.sdxl.picture.test_metadata import read

TEXT = "a red cube, テスト\nSteps: 20, Sampler: Euler a, Seed: 1"
LARGE = b'{"nodes": "' + b"x" * 1_500_000 + b'"}'


@pytest.mark.parametrize(("kind", "body", "text"), [
    (b"tEXt", b"parameters\0" + "café".encode("latin-1"), "café"), (b"tEXt", b"parameters\0" + TEXT.encode(), TEXT),
    (b"zTXt", b"parameters\0\0" + zlib.compress("café".encode("latin-1")), "café"),
    (b"zTXt", b"parameters\0\0" + zlib.compress(TEXT.encode()), TEXT),
    (b"iTXt", b"parameters\0\0\0\0\0" + TEXT.encode(), TEXT),
    (b"iTXt", b"parameters\0\0\0en\0Parameter\0" + TEXT.encode(), TEXT),
    (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(TEXT.encode()), TEXT),
    (b"tEXt", b"parameters\0\xef\xbb\xbf" + TEXT.encode(), TEXT),
    (b"tEXt", b"parameters\0" + b"a\r\nb\rc", "a\nb\nc"), (b"tEXt", b"parameters\0 \n", None),
    (b"tEXt", b"parameters\0", None),
    (b"tEXt", b"parameters", None), (b"iTXt", b"parameters\0\1", None), (b"zTXt", b"parameters\0\0no zlib", None),
    (b"tEXt", b"parameters\0" + bytes(50), None), (b"tEXt", b"Parameters\0a", None), (b"tEXt", b"", None),
], ids=lambda value: ascii(value)[:40])  # fmt: skip
@pytest.mark.parametrize("at_end", [False, True], ids=["before the pixels", "after"])
def test_texts(kind: bytes, body: bytes, text: str | None, at_end: bool) -> None:
    data = png_with() if at_end else png_with((kind, body))
    if at_end:
        data = data[:-12] + chunk(kind, body) + data[-12:]
    assert read(data).parameters == text
    assert read_picture(data, max_bytes=10**7, max_pixels=100).getpixel((0, 0)) == (255, 0, 0)


def test_the_first_of_two_counts() -> None:
    assert read(png_with((b"tEXt", b"parameters\0first"), (b"tEXt", b"parameters\0second"))).parameters == "first"


@pytest.mark.parametrize("other", [
    (b"zTXt", b"workflow\0\0" + zlib.compress(LARGE)), (b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(LARGE)),
    (b"tEXt", b"workflow\0" + LARGE), (b"iCCP", b"x\0\0" + zlib.compress(b"incompressible?" + bytes(1_500_000))),
    (b"iCCP", b"x\0\0" + zlib.compress(bytes(200_000_000))), (b"iCCP", b"x\0\1" + zlib.compress(bytes(99))),
    (b"iCCP", b""),
    (b"zTXt", b"parameters"), (b"eXIf", b"\xff" * 99), (b"cHRM", b""), (b"gAMA", b""), (b"sRGB", b""), (b"zzZz", b"?"),
    (b"acTL", b"broken"), (b"fcTL", b"broken"),
], ids=lambda chunk: ascii(chunk[0] + chunk[1][:9]))  # fmt: skip
def test_what_is_large_or_broken_beside_the_pixels(other: tuple[bytes, bytes]) -> None:
    data = png_with(other, (b"tEXt", b"parameters\0" + TEXT.encode()))
    assert read(data).parameters == TEXT
    assert read_picture(data, max_bytes=10**7, max_pixels=100).getpixel((0, 0)) == (255, 0, 0)


def test_very_many_chunks() -> None:
    with pytest.raises(BrokenPictureError, match="more than 200000 chunks"):
        read(png_with(*[(b"zzZz", b"")] * 200_001))


def test_a_chunk_that_goes_on_after_the_file() -> None:
    data = png_with((b"tEXt", b"parameters\0a"))
    with pytest.raises(BrokenPictureError), opened_picture(data[:40], max_bytes=10**6) as picture:
        picture.load()


# The transparent colour

GRAY_16 = words(0, 30_000, 65_535, 30_000, 30_001)
RGB_16 = words(0, 0, 0, 500, 600, 700, 500, 600, 701, 756, 600, 700)


@pytest.mark.parametrize(("data", "flat", "mask"), [
    (png_of_row(5, 16, 0, GRAY_16, (b"tRNS", words(30_000))), [0, 255, 255, 255, 117], [0, 0, 255, 0, 117]),
    (png_of_row(5, 16, 0, GRAY_16, (b"tRNS", words(30_002))), [0, 117, 255, 117, 117], [0, 117, 255, 117, 117]),
    (png_of_row(4, 8, 0, bytes((0, 9, 255, 9)), (b"tRNS", words(9))), [0, 255, 255, 255], [0, 0, 255, 0]),
    (png_of_row(4, 4, 0, b"\x0a\xfa", (b"tRNS", words(10))), [0, 255, 255, 255], [0, 0, 255, 0]),
    (png_of_row(4, 2, 0, b"\x1b", (b"tRNS", words(2))), [0, 85, 255, 255], [0, 85, 0, 255]),
    (png_of_row(4, 1, 0, b"\x50", (b"tRNS", words(0))), [255, 255, 255, 255], [0, 255, 0, 255]),
    (png_of_row(4, 1, 0, b"\x50", (b"tRNS", words(1))), [0, 255, 0, 255], [0, 0, 0, 0]),
    (png_of_row(2, 8, 2, bytes((1, 2, 3, 1, 2, 4)), (b"tRNS", words(1, 2, 3))), [255, 1], [0, 2]),
    (png_of_row(4, 16, 2, RGB_16, (b"tRNS", words(500, 600, 700))), [0, 255, 1, 2], [0, 0, 2, 2]),
    (png_of_row(2, 8, 4, bytes((0, 255, 0, 0))), [0, 255], [0, 0]),
    (png_of_row(2, 16, 4, words(0, 65_535, 0, 0)), [0, 255], [0, 0]),
    (png_of_row(2, 16, 6, words(0, 0, 0, 65_535, 0, 0, 0, 0)), [0, 255], [0, 0]),
    (png_of_row(2, 8, 3, b"\0\1", (b"PLTE", bytes(6)), (b"tRNS", b"\xff\0")), [0, 255], [0, 0]),
], ids=["gray 16", "gray 16 but none", "gray 8", "gray 4", "gray 2", "black 1", "white 1", "RGB 8", "RGB 16",
        "gray and alpha", "of 16", "RGBA 16", "palette"])  # fmt: skip
def test_transparency(data: bytes, flat: list[int], mask: list[int]) -> None:
    """Flattened onto white as a picture, and onto black as a mask."""
    picture = read_picture(data, max_bytes=10**6, max_pixels=100)
    assert [pixel[0] for pixel in row_of(picture)] == flat
    assert row_of(read_mask(data, repaint="white", max_bytes=10**6, max_pixels=100)) == mask


def test_16_bits_interlaced_or_not_and_scaled() -> None:
    data = png_of_row(64, 16, 0, words(*[30_000, 0] * 32), (b"tRNS", words(30_000)), height_px=64)
    scaled = read_picture(data, max_bytes=10**6, max_pixels=16 * 16)
    assert scaled.size == (16, 16)
    assert abs(row_of(scaled)[8][0] - 128) < 8
