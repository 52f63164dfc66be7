"""What is written into pictures about their making is read back, by us and by AUTOMATIC1111's rules."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any, get_args
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from sdxl.picture.image import encode_picture, opened_picture
from sdxl.picture.metadata import Metadata
from sdxl.picture.record import AnyRecord, RefineRecord, from_json, record_of
from sdxl.request.fields import OutputFormat
from sdxl.request.requests import GenerationRequest, RefineRequest
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.settled import Defaults
from sdxl.version import VERSION
from tests.sdxl.picture.pictures import textured

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


def test_pixels_are_the_same_with_metadata() -> None:
    with Image.open(BytesIO(picture(Metadata.of(record()), "png"))) as opened:
        assert np.array_equal(np.asarray(opened), textured(64, 64))
