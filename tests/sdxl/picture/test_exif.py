"""EXIF is read field by field, so that no file of it costs more than its bytes."""

from __future__ import annotations

import struct
import tracemalloc
from io import BytesIO
from zlib import compress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sdxl.picture.exif import PREFIX, orientation, user_comment
from sdxl.picture.image import BrokenPictureError, read_picture
from sdxl.picture.metadata import Metadata
from tests.sdxl.picture.pictures import chunk, encoded, png_with, textured
from tests.sdxl.picture.test_metadata import read


def directory(order: str, *fields: tuple[int, int, int, bytes]) -> bytes:
    """TIFF of one directory; each field is its tag, its type, how many, and its four bytes."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    rows = b"".join(struct.pack(order + "HHI", tag, kind, number) + value for tag, kind, number, value in fields)
    return mark + struct.pack(order + "IH", 8, len(fields)) + rows + bytes(4)


@pytest.mark.parametrize("order", [">", "<"], ids=["big-endian", "little-endian"])
@pytest.mark.parametrize("value", range(1, 9))
def test_every_orientation(order: str, value: int) -> None:
    short = directory(order, (1, 3, 1, bytes(4)), (0x0112, 3, 1, struct.pack(order + "HH", value, 0)))
    long = directory(order, (0x0112, 4, 1, struct.pack(order + "I", value)))
    picture = Image.fromarray(textured(8, 16))
    for tiff in (short, long):
        assert orientation({"exif": tiff}) == orientation({"exif": PREFIX + tiff}) == value
        data = encoded(picture, "PNG", exif=tiff)
        turned = ImageOps.exif_transpose(Image.open(BytesIO(data)))
        assert np.array_equal(np.asarray(read_picture(data, max_bytes=10**6, max_pixels=10**6)), np.asarray(turned))


@pytest.mark.parametrize(("info", "found"), [
    ({}, 1), ({"exif": b""}, 1), ({"exif": "text"}, 1),
    ({"exif": directory(">", (0x0112, 3, 1, b"\0\x06")), "xmp": b""}, 6),
    ({"xmp": b'<a tiff:Orientation="3"/>'}, 3), ({"xmp": b"<tiff:Orientation>8</tiff:Orientation>"}, 8),
    ({"xmp": b'<a tiff:Orientation="9"/>'}, 1), ({"exif": directory(">", (0x0112, 7, 1, b"\0\x06"))}, 1),
    ({"exif": directory(">", (0x0112, 3, 1, b"\0\x06\0\0"))[:-10]}, 1),
], ids=ascii)  # fmt: skip
def test_orientations_of_others(info: dict[str, object], found: int) -> None:
    assert orientation(info) == found


@given(st.binary(max_size=80), st.sampled_from([b"MM\0*\0\0\0\x08", b"II*\0\x08\0\0\0", b"MM\0*", b""]))
def test_any_bytes(data: bytes, head: bytes) -> None:
    info = {"exif": head + data}
    assert orientation(info) >= 0
    assert user_comment(info) is None or user_comment(info)


def bomb(size_bytes: int) -> bytes:
    """Fields of all tags, each of which says that it is nearly the whole file."""
    fields = [(tag, 7, size_bytes - 20, struct.pack(">I", 8)) for tag in range(min(65_000, size_bytes // 24))]
    tiff = directory(">", *fields)
    return tiff + bytes(size_bytes - len(tiff))


def jpeg_with_exif(exif: bytes) -> bytes:
    """In as many segments as it takes, which Pillow puts together."""
    plain = encoded(Image.new("RGB", (8, 8)), "JPEG")
    parts = [PREFIX + exif[at : at + 60_000] for at in range(0, len(exif), 60_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", 2 + len(part)) + part for part in parts)
    return plain[:2] + segments + plain[20:]  # without JFIF, whose resolution Pillow would take


LARGE = bomb(2_000_000)  # by Pillow, 80 GB


@pytest.mark.parametrize("data", [
    png_with((b"eXIf", LARGE)), jpeg_with_exif(LARGE), encoded(Image.new("RGB", (8, 8)), "WEBP", exif=LARGE),
    png_with((b"tEXt", b"Raw profile type exif\0\nexif\n 1\n" + LARGE[:1_500_000].hex().encode())),
], ids=["PNG", "JPEG", "WebP", "PNG, raw"])  # fmt: skip
def test_fields_that_refer_to_all_bytes(data: bytes) -> None:
    tracemalloc.start()
    try:
        assert isinstance(read(data), Metadata)
        assert read_picture(data, max_bytes=10**8, max_pixels=100).size == (8, 8)
        assert tracemalloc.get_traced_memory()[1] < 20 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("segment", [b"\xff\xe0\0\2", b"\xff\xfe\0\2", b"\xff", b"\0", b"\xff\xd0"], ids=ascii)
def test_a_jpeg_of_very_many_segments(segment: bytes) -> None:
    plain = encoded(Image.new("RGB", (8, 8)), "JPEG")
    with pytest.raises(BrokenPictureError, match="more than 100000 segments"):
        read(plain[:20] + segment * 200_001 + plain[20:])  # after JFIF's


def test_a_png_of_very_many_packed_texts() -> None:
    """Only the first few of one name are unpacked."""
    packed = compress(bytes(4_000_000))[:-8] + b"broken!!"
    many = chunk(b"zTXt", b"parameters\0\0" + packed) * 2_000
    plain = png_with()
    assert read(plain[:33] + many + plain[33:]).parameters is None
