"""Metadata of files that nobody vouches for."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from sdxl.picture.image import BrokenPictureError, PictureError
from sdxl.picture.metadata import Metadata
from sdxl.picture.record import as_json, from_json
from sdxl.request.fields import OutputFormat
from sdxl.version import VERSION
from tests.sdxl.picture.pictures import encoded
from tests.sdxl.picture.test_metadata import FORMATS, picture, read, record


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    plain = encoded(Image.new("RGB", (8, 8)), "PNG")
    end_of_header = 8 + 25
    added = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return plain[:end_of_header] + added + plain[end_of_header:]


@pytest.mark.parametrize("text", [
    "", "null", "[]", "{}", "x", '{"endpoint": "/generate"}', "[" * 100_000, '{"a":' * 50_000, "9" * 300_000,
    '{"endpoint": "/metrics", "request": {}}',
    as_json(record()).replace('"width": 64', '"width": -1'), as_json(record()).replace('"seed": 7', '"seed": "7"'),
    as_json(record()).replace('"prompt"', '"promptt"'), as_json(record()).replace("a" * 64, "a" * 63),
    as_json(record()).replace(f'"version": "{VERSION}"', '"version": "' + "9" * 101 + '"'),
])  # fmt: skip
def test_a_record_that_is_none_of_ours(text: str) -> None:
    assert read(png_with((b"tEXt", b"sdxl_relay\0" + text.encode()))).record is None


def test_fields_of_a_later_version_are_left_out() -> None:
    assert from_json(as_json(record())[:-1] + ', "later": [1]}') == record()


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_text_chunk_that_unpacks_to_very_much(kind: bytes) -> None:
    bomb = zlib.compress(bytes(200_000_000))
    head = b"parameters\0\0" if kind == b"zTXt" else b"parameters\0\1\0\0\0"
    with pytest.raises(BrokenPictureError):
        read(png_with((kind, head + bomb)))


def test_a_long_text_is_cut_off() -> None:
    assert len(read(png_with((b"tEXt", b"parameters\0" + b"x" * 900_000))).parameters or "") == 100_000


def jpeg_with_exif(exif: bytes) -> bytes:
    return encoded(Image.new("RGB", (8, 8)), "JPEG", exif=b"Exif\0\0" + exif)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning", "ignore:Possibly corrupt EXIF:UserWarning")
@pytest.mark.parametrize("exif", [
    b"", b"MM", b"MM\0*\0\0\0\x08", b"\xff" * 4_000,
    b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\0",  # an IFD that is its own
    b"MM\0*\0\0\0\x08\0\x01\x87\x69\0\x02\0\0\0\x04abc\0\0\0\0\0",  # of another type
])  # fmt: skip
def test_broken_exif_is_no_text(exif: bytes) -> None:
    assert read(jpeg_with_exif(exif)) == Metadata(parameters=None, record=None)


@pytest.mark.parametrize(("comment", "text"), [
    (b"UNICODE\0" + "é".encode("utf-16-be") + b"\0", "é\ufffd"), (b"ASCII\0\0\0abc", "abc"), (b"abc\xff", "abc\ufffd"),
])  # fmt: skip
def test_comments_of_others(comment: bytes, text: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    assert read(encoded(Image.new("RGB", (8, 8)), "WEBP", exif=exif.tobytes())).parameters == text


@pytest.mark.parametrize("xmp", [
    b"", b"<sdxl_relay:record>", b"</sdxl_relay:record><sdxl_relay:record>",
    b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><sdxl_relay:record>&b;</sdxl_relay:record>',
    b"<sdxl_relay:record>\xff\xfe{}</sdxl_relay:record>", b"<a>" * 10_000,
])  # fmt: skip
def test_xmp_that_is_none_of_ours(xmp: bytes) -> None:
    assert read(encoded(Image.new("RGB", (8, 8)), "JPEG", xmp=xmp)).record is None


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, for broken EXIF
@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=5))
def test_mutations_are_read_or_refused(output_format: OutputFormat, changes: list[tuple[int, int]]) -> None:
    data = bytearray(SMALL[output_format])
    for offset, value in changes:
        data[offset % len(data)] = value
    with suppress(PictureError):
        assert isinstance(read(bytes(data)), Metadata)


SMALL = {output_format: picture(Metadata.of(record()), output_format) for output_format in FORMATS}
