"""EXIF's UserComment, as cameras and many programs write it."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from sdxl.picture.comment import as_comment
from sdxl.picture.exif import exif_with
from sdxl.picture.metadata import Metadata
from sdxl.request.fields import OutputFormat
from tests.sdxl.picture.pictures import encoded, png_with
from tests.sdxl.picture.test_metadata import picture, read, record

TEXT = "a red cube, テスト 🟥\nNegative prompt: ugly\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"
CHINESE = "一个红色的立方体，杰作"  # whose first letter, U+4E00, has a zero in its low byte
ASCII = "a red cube\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1"
UNICODE, UNDEFINED = b"UNICODE\0", bytes(8)
FIELD = 0x9286


def tiff(comment: bytes, *, kind: int = 7, order: str = ">", in_first: bool = False) -> bytes:
    """TIFF of one UserComment: of a type, in a byte order, in the Exif IFD or in IFD0."""
    mark = b"MM\0*" if order == ">" else b"II*\0"
    head = mark + struct.pack(order + "I", 8)
    pointer = b"" if in_first else struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
    at = len(head) + len(pointer) + 18
    return head + pointer + struct.pack(order + "HHHIII", 1, FIELD, kind, len(comment), at, 0) + comment


def found(exif: bytes, output_format: str = "JPEG") -> str | None:
    return read(encoded(Image.new("RGB", (8, 8)), output_format, exif=b"Exif\0\0" + exif)).parameters


@pytest.mark.parametrize("output_format", [one for one in get_args(OutputFormat) if one != "png"])
def test_ours_is_of_the_type_that_readers_want(output_format: OutputFormat) -> None:
    data = picture(Metadata.of(record("é🟥")), output_format)
    with Image.open(BytesIO(data)) as opened:
        comment = opened.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment.startswith(UNICODE)
    assert comment[8:].decode("utf-16-be").startswith("é🟥\nSteps: 30")
    at = data.index(struct.pack(">H", FIELD))
    kind, count = struct.unpack(">HI", data[at + 2 : at + 8])
    assert (kind, count) == (7, len(comment))  # UNDEFINED: readers take BYTE for numbers


@given(st.text(max_size=50))
def test_what_is_written_is_read(text: str) -> None:
    exif = Image.Exif()
    exif.load(exif_with(as_comment(text)))
    comment = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment == UNICODE + text.encode("utf-16-be")


BOTH = {"big-endian": ">", "little-endian": "<"}


@pytest.mark.parametrize("output_format", ["JPEG", "WEBP"])
@pytest.mark.parametrize("order", BOTH.values(), ids=BOTH)
@pytest.mark.parametrize("comment", [
    UNICODE + TEXT.encode("utf-16-be"), UNICODE + TEXT.encode("utf-16-le"),  # whatever the file's own order
    UNICODE + b"\xff\xfe" + TEXT.encode("utf-16-le"), UNICODE + b"\xfe\xff" + TEXT.encode("utf-16-be"),
    UNICODE + TEXT.encode("utf-16-le") + bytes(2), UNICODE + TEXT.encode("utf-16-be") + bytes(20),
    UNICODE + TEXT.encode("utf-16-be") + bytes(1), b"Unicode\0" + TEXT.encode("utf-16-le"),
    UNICODE + TEXT.encode(), UNICODE + b"\xef\xbb\xbf" + TEXT.encode(), b"ASCII\0\0\0" + TEXT.encode(),
    UNDEFINED + TEXT.encode(), UNDEFINED + TEXT.encode("utf-16-le"), UNDEFINED + TEXT.encode("utf-16-be"),
    TEXT.encode(), TEXT.encode("utf-16-le"), b"\xff\xfe" + TEXT.encode("utf-16-le"), TEXT.encode() + bytes(40),
], ids=lambda comment: ascii(comment[:12]))  # fmt: skip
def test_unicode_of_every_kind(comment: bytes, order: str, output_format: str) -> None:
    assert found(tiff(comment, order=order), output_format) == TEXT


@pytest.mark.parametrize("comment", [
    b"ASCII\0\0\0" + ASCII.encode(), b"ASCII\0\0\0" + ASCII.encode() + bytes(50), ASCII.encode(),
    b"ASCII\0\0\0" + ASCII.replace("\n", "\r\n").encode(), ASCII.encode() + b"\0and what was there before",
    UNDEFINED + ASCII.encode(),
], ids=lambda comment: ascii(comment[:12]))  # fmt: skip
@pytest.mark.parametrize("kind", [1, 2, 7], ids=["BYTE", "ASCII", "UNDEFINED"])
@pytest.mark.parametrize("in_first", [False, True], ids=["Exif IFD", "IFD0"])
def test_ascii_of_every_type_and_place(comment: bytes, kind: int, in_first: bool) -> None:
    assert found(tiff(comment, kind=kind, in_first=in_first)) == ASCII


def test_in_a_png() -> None:
    assert read(png_with((b"eXIf", tiff(UNICODE + TEXT.encode("utf-16-be"))))).parameters == TEXT
    raw = tiff(UNICODE + TEXT.encode("utf-16-be")).hex()
    for name in ("exif", "APP1"):  # as ImageMagick and exiv2 write it
        body = f"Raw profile type {name}\0\n{name}\n{len(raw) // 2:8}\n{raw}\n".encode()
        assert read(png_with((b"tEXt", body))).parameters == TEXT


@pytest.mark.parametrize(("comment", "text"), [
    (b"JIS\0\0\0\0\0" + "テスト\nSteps: 1".encode("iso2022_jp"), "テスト\nSteps: 1"),
    (b"ASCII\0\0\0" + "café".encode("latin-1"), "café"), (b"a caf\xe9", "a café"),
    (UNICODE + "é".encode("utf-16-be"), "é"),
    (UNICODE + "球体".encode("utf-16-be"), "球体"), (UNICODE + CHINESE.encode("utf-16-be"), CHINESE),
    (UNICODE + CHINESE.encode("utf-16-le"), CHINESE), (UNICODE + CHINESE.encode(), CHINESE),
    (UNICODE + "aaaa".encode("utf-16-le"), "aaaa"), (UNICODE + b"\xd8\x00", "\ufffd"),
], ids=ascii)  # fmt: skip
def test_other_texts(comment: bytes, text: str) -> None:
    assert found(tiff(comment)) == text


@pytest.mark.parametrize("comment", [
    b"", UNDEFINED, bytes(264), b"ASCII\0\0\0" + b" " * 117, UNDEFINED + b" " * 100, b" " * 125, UNICODE,
    UNICODE + bytes(64), UNICODE + " \n".encode("utf-16-le") * 9, UNDEFINED + b"\0 \0 \0", b"ASCII\0\0\0\0",
    b"\xff" * 100, UNDEFINED + b"\xff" * 50, b"ASCII\0\0\0" + b"\xff" * 50,
    b"\x01\x02\x03\x04" * 30, UNDEFINED + bytes(range(1, 60)), bytes(9) + b" " * 50,
], ids=lambda comment: ascii(comment[:12]))  # fmt: skip
@pytest.mark.parametrize("kind", [1, 2, 7], ids=["BYTE", "ASCII", "UNDEFINED"])
def test_what_a_camera_leaves_is_no_text(comment: bytes, kind: int) -> None:
    assert found(tiff(comment, kind=kind)) is None


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning", "ignore:Possibly corrupt EXIF:UserWarning")
@pytest.mark.parametrize("exif", [
    b"", b"MM", b"MM\0*\0\0\0\x08", b"\xff" * 4_000, tiff(UNICODE, kind=5), tiff(UNICODE, kind=99),
    tiff(ASCII.encode(), kind=3), tiff(ASCII.encode())[:30],
    b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\0",  # an IFD that is its own
    b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x02\0\0\0\x04abc\0\0\0\0\0",  # of another type
])  # fmt: skip
def test_broken_exif_is_no_text(exif: bytes) -> None:
    assert found(exif) is None
