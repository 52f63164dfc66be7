"""What is written into pictures about their making is read back, by us and by AUTOMATIC1111's rules."""

from __future__ import annotations

import json
import struct
import zlib
from contextlib import suppress
from io import BytesIO
from typing import Any, get_args
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from sdxl.picture.image import BrokenPictureError, PictureError, encode_picture, opened_picture
from sdxl.picture.metadata import Metadata
from sdxl.picture.record import AnyRecord, RefineRecord, as_json, from_json, record_of
from sdxl.request.fields import OutputFormat
from sdxl.request.requests import GenerationRequest, RefineRequest
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.settled import Defaults
from sdxl.version import VERSION
from tests.sdxl.picture.pictures import encoded, textured

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


def read_by_automatic1111s_rules(text: str) -> dict[str, str]:
    """The last line's pairs; before it, lines of the prompt until one begins with "Negative prompt:"."""
    *lines, last = text.strip().split("\n")
    found = dict(pair.split(": ", 1) for pair in last.split(", "))
    starts = [i for i, line in enumerate(lines) if line.startswith("Negative prompt:")]
    until = starts[0] if starts else len(lines)
    negative = "\n".join(lines[until:]).removeprefix("Negative prompt:").strip()
    return {**found, "Prompt": "\n".join(lines[:until]), "Negative prompt": negative}


@pytest.mark.parametrize("output_format", FORMATS)
def test_both_are_read_back(output_format: OutputFormat) -> None:
    written = Metadata.of(record('a "red" cube, on\ntop of 球体 🟥 <b>&amp;', negative_prompt="ugly: very, so"))
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
    back = read(picture(Metadata.of(written), output_format))
    assert back.record == written
    assert back.parameters is not None


def test_the_line_of_parameters() -> None:
    text = Metadata.of(record(negative_prompt="ugly", num_inference_steps=20, guidance_scale=7.5)).parameters
    assert text == (
        "a red cube\nNegative prompt: ugly\nSteps: 20, Sampler: Euler, Schedule type: Uniform, CFG scale: 7.5, Seed: 7,"
        " Size: 64x64, Model hash: aaaaaaaaaa, Model: SDXL base, RNG: CPU, Refiner: SDXL refiner [bbbbbbbbbb],"
        f" Refiner switch at: 0.8, Version: SDXL Relay {VERSION}"
    )


@given(
    st.lists(st.text('abc ,:"\\()<>🟥é', min_size=1, max_size=20).filter(str.strip), min_size=1, max_size=3),
    st.text('abc ,:"\\()<>🟥é\n', max_size=20),
)
def test_automatic1111_reads_the_prompts(lines: list[str], negative: str) -> None:
    text = Metadata.of(record("\n".join(lines), negative_prompt=negative)).parameters
    assert text is not None
    found = read_by_automatic1111s_rules(text)
    assert found["Prompt"].strip() == "\n".join(lines).strip()
    assert found["Negative prompt"] == negative.strip() or found["Negative prompt"].split() == negative.split()
    assert (found["Steps"], found["Seed"], found["Size"]) == ("30", "7", "64x64")


@pytest.mark.parametrize("name", get_args(SamplerName))
def test_every_sampler_has_a_name(name: SamplerName) -> None:
    text = Metadata.of(record(scheduler=name)).parameters
    assert text is not None
    assert read_by_automatic1111s_rules(text)["Sampler"] == SAMPLERS[name].label
    assert ("Karras" in text) == (name == "dpmpp_2m_karras")


def test_sdedit_base_alone_and_refine_say_so() -> None:
    sdedit = Metadata.of(record(refine="sdedit")).parameters or ""
    assert "Denoising strength: 0.3, Refiner: SDXL refiner [bbbbbbbbbb], Version" in sdedit
    request = GenerationRequest(prompt="a", seed=1, refine="none")
    settled = request.with_defaults(Defaults()).model_dump()
    alone = Metadata.of(record_of(request, settled, (64, 64), {"base": "a" * 64})).parameters or ""
    assert "Refiner" not in alone
    refine = RefineRequest(prompt="a", seed=1)
    settled = refine.with_defaults(Defaults()).model_dump()
    refined = Metadata.of(record_of(refine, settled, (64, 64), {"refiner": "b" * 64}))
    assert "Model hash: bbbbbbbbbb, Model: SDXL refiner, RNG: CPU, Denoising strength: 0.3" in (
        refined.parameters or ""
    )
    assert isinstance(refined.record, RefineRecord)
    assert read(picture(refined, "jpeg")) == refined


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
    (element,) = ElementTree.fromstring(packet).iter("{urn:sdxl-relay:}record")
    assert from_json(element.text or "") == written


def test_exif_is_as_automatic1111_writes_it() -> None:
    with Image.open(BytesIO(picture(Metadata.of(record("é🟥")), "jpeg"))) as opened:
        comment = opened.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment.startswith(b"UNICODE\0")
    assert comment[8:].decode("utf-16-be").startswith("é🟥\nSteps: 30")


# Files that nobody vouches for


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


def test_pixels_are_the_same_with_metadata() -> None:
    with Image.open(BytesIO(picture(Metadata.of(record()), "png"))) as opened:
        assert np.array_equal(np.asarray(opened), textured(64, 64))
