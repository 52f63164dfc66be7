"""What is written into pictures about their making is read back, by us and by AUTOMATIC1111's rules."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sdxl.picture.image import PictureError, encode_picture, opened_picture
from sdxl.picture.metadata import NAMESPACE, Metadata
from sdxl.picture.record import AnyRecord, as_json, from_json, record_of
from sdxl.request.fields import OutputFormat
from sdxl.request.requests import GenerationRequest
from sdxl.request.settled import Defaults
from sdxl.version import VERSION
from tests.sdxl.picture.pictures import encoded, png_with, textured

FORMATS = get_args(OutputFormat)
DIGESTS = {"base": "a" * 64, "refiner": "b" * 64}
# What surrogateless JSON may bring: all of Unicode, control characters and what XML does not allow among it.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def record(prompt: str = "a red cube", **fields: Any) -> AnyRecord:
    request = GenerationRequest(prompt=prompt, **{"seed": 7, **fields})
    settled = json.loads(request.with_defaults(Defaults()).model_dump_json())
    return record_of(request, settled, (64, 64), DIGESTS)


def picture(metadata: Metadata | None, output_format: OutputFormat) -> bytes:
    pixels = textured(64, 64)
    return encode_picture(pixels, output_format=output_format, quality=90, watermark=False, metadata=metadata).data


def read(data: bytes) -> Metadata:
    with opened_picture(data, max_bytes=10_000_000, max_pixels=1_000_000) as opened:
        return Metadata.read(opened)


@pytest.mark.parametrize("output_format", FORMATS)
def test_both_are_read_back(output_format: OutputFormat) -> None:
    written = Metadata.of(record('a "red" cube, on\ntop of 球体 🟥 <b>&amp;', negative_prompt="ugly: very, so"))
    assert read(picture(written, output_format)) == written


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("prompt", ["Ã©", "café", "Â°", "þÿ\0", "\ufeffa", "ÿþ", "a\0b", " a ", "\r\n"], ids=ascii)
def test_texts_that_look_like_another_encoding(prompt: str, output_format: OutputFormat) -> None:
    written = Metadata.of(record(f"{prompt}b"))
    assert read(picture(written, output_format)).record == written.record


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("prompt", ["Ã©", "café", "Â°", "þÿ", " a "], ids=ascii)
def test_so_does_the_text(prompt: str, output_format: OutputFormat) -> None:
    written = Metadata.of(record(prompt))
    assert read(picture(written, output_format)) == written


@pytest.mark.parametrize("output_format", FORMATS)
def test_without_metadata_there_is_none(output_format: OutputFormat) -> None:
    data = picture(None, output_format)
    assert read(data) == Metadata(parameters=None, record=None)
    assert b"xmp" not in data.lower()
    assert b"exif" not in data.lower()


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_same_request_gives_the_same_bytes(output_format: OutputFormat) -> None:
    assert picture(Metadata.of(record()), output_format) == picture(Metadata.of(record()), output_format)


@settings(max_examples=60, deadline=None)
@given(TEXTS.filter(str.strip), TEXTS, TEXTS, st.sampled_from(FORMATS))
def test_any_text_survives(prompt: str, second: str, negative: str, output_format: OutputFormat) -> None:
    written = record(prompt, prompt_2=second, negative_prompt=negative)
    assert read(picture(Metadata.of(written), output_format)).record == written


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("worst", ["🟥", "&", "\x01", "\uffff", '"', "\\", "<", "\u0800"], ids=ascii)
def test_the_longest_texts_fit(worst: str, output_format: OutputFormat) -> None:
    """JPEG has no room for more than 64 KB of each."""
    text = worst * 2_000
    fields = dict.fromkeys(("prompt_2", "negative_prompt", "negative_prompt_2"), text)
    written = record("a" + text[1:], **fields, original_size=(65_504, 65_504), clip_skip=31)
    for each in (written, record("a" + worst * 7_999, original_size=(65_504, 65_504), clip_skip=31)):
        back = read(picture(Metadata.of(each), output_format))
        assert back.record == each
        assert back.parameters is not None


def test_a_record_is_settled_and_settles_to_itself() -> None:
    written = record(prompt_2="b", output_format="webp", quality=50, watermark=False, original_size=(1, 2))
    request = written.request
    assert isinstance(request, GenerationRequest)
    assert (request.width, request.scheduler, request.output_format, request.quality) == (1024, "euler", "webp", 50)
    again = record_of(request, request.with_defaults(Defaults(width=64)).model_dump(), (64, 64), DIGESTS)
    assert again == written


@given(TEXTS.filter(str.strip))
def test_xmp_is_xml(prompt: str) -> None:
    written = record(prompt)
    options = Metadata.of(written).as_options("jpeg")
    packet = options["xmp"].decode().split("?>", 1)[1].rsplit("<?", 1)[0]
    (element,) = ElementTree.fromstring(packet).iter(f"{{{NAMESPACE}}}record")
    assert from_json(element.text or "") == written


# Files that nobody vouches for


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
    bomb = zlib.compress(b"a" * 200_000_000)
    head = b"parameters\0\0" if kind == b"zTXt" else b"parameters\0\1\0\0\0"
    assert read(png_with((kind, head + bomb))).parameters == "a" * 100_000


def test_a_long_text_is_cut_off() -> None:
    assert len(read(png_with((b"tEXt", b"parameters\0" + b"x" * 900_000))).parameters or "") == 100_000


@pytest.mark.parametrize("xmp", [
    b"", b"<sdxl_relay:record>", b"</sdxl_relay:record><sdxl_relay:record>",
    b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><sdxl_relay:record>&b;</sdxl_relay:record>',
    b"<sdxl_relay:record>\xff\xfe{}</sdxl_relay:record>", b"<a>" * 10_000, b"<a>" * 9_000 + b"</a>" * 9_000,
    b'<a xmlns:b="urn:sdxl-relay:xmp/"><b:record>[]</b:record></a>', "<a/>".encode("utf-16"),
    b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]>'
    b'<a xmlns:b="urn:sdxl-relay:xmp/"><b:record>&b;</b:record></a>',
])  # fmt: skip
def test_xmp_that_is_none_of_ours(xmp: bytes) -> None:
    assert read(encoded(Image.new("RGB", (8, 8)), "JPEG", xmp=xmp)).record is None


EXIFTOOL = ("exiftool", "-q", "-overwrite_original")
ATTRIBUTE, ELEMENT = '{0}:record="{1}"/>', ">\n  <{0}:record>{1}</{0}:record>\n </rdf:Description>"


@pytest.mark.parametrize(
    "namespace", [NAMESPACE, "urn:sdxl-relay:", "urn:sdxl-relay:/"], ids=["ours", "0.2", "exiv2's"]
)
@pytest.mark.parametrize("form", [ATTRIBUTE, ELEMENT], ids=["attribute", "element"])
@pytest.mark.parametrize("prefix", ["sdxl_relay", "ns1"])
@pytest.mark.parametrize("output_format", FORMATS)
def test_a_record_that_was_written_again(namespace: str, form: str, prefix: str, output_format: OutputFormat) -> None:
    """By exiv2 (attributes, a namespace that ends in a slash) or exiftool; padded, and beside other properties."""
    written = record("a \"red\" cube & 'more' <b>\n球体 🟥")
    said = form.format(prefix, escape(as_json(written), {'"': "&quot;"}))
    packet = (
        (
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="a">'
            '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
            f' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:{prefix}="{namespace}" dc:format="a" {said}'
            f'</rdf:RDF></x:xmpmeta>{" " * 2_000}\n<?xpacket end="w"?>'
        )
        .replace('" >\n', '">\n')
        .encode()
    )
    if output_format == "png":
        data = png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
    else:
        data = encoded(Image.new("RGB", (8, 8)), output_format, xmp=packet)
    assert read(data).record == written


@pytest.mark.skipif(not (shutil.which("exiv2") and shutil.which("exiftool")), reason="needs exiv2 and exiftool")
@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("command", [
    ("exiv2", "-M", "set Xmp.dc.title lang=x-default a"), ("exiv2", "-M", "set Exif.Image.Artist a"),
    (*EXIFTOOL, "-XMP-dc:Title=a"), (*EXIFTOOL, "-Artist=a"),
    (*EXIFTOOL, "-api", "compact=shorthand", "-XMP-dc:Title=a"),
], ids=" ".join)  # fmt: skip
def test_a_picture_that_was_written_again(
    command: tuple[str, ...], output_format: OutputFormat, tmp_path: Path
) -> None:
    written = Metadata.of(record("a \"red\" cube & 'more' <b>\n球体", negative_prompt="ugly: very, so"))
    file = tmp_path / f"a.{output_format}"
    file.write_bytes(picture(written, output_format))
    before = file.read_bytes()
    subprocess.run([*command, str(file)], check=True, capture_output=True)
    assert file.read_bytes() != before
    assert read(file.read_bytes()) == written


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


def test_pixels_are_the_same_with_metadata() -> None:
    with Image.open(BytesIO(picture(Metadata.of(record()), "png"))) as opened:
        assert np.array_equal(np.asarray(opened), textured(64, 64))
