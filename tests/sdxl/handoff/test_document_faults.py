"""Each kind of fault that a hand-off document can have."""

import struct

import pytest
from pydantic import ValidationError

from sdxl.handoff import document as handoff
from sdxl.handoff.document import HandOff
from sdxl.handoff.fields import HandOffError, MetadataFieldError
from tests.sdxl.handoff.documents import DATA, HEADER, decode, joined, make, with_metadata, with_state, with_tensor


def test_too_large() -> None:
    document = make().encode()
    with pytest.raises(handoff.HandOffTooLargeError, match=rf"{len(document)} bytes, allowed are 100$"):
        HandOff.decode(document, max_bytes=100, max_pixels=8192)
    with pytest.raises(handoff.HandOffTooLargeError, match="8192 pixels, allowed are 8191"):
        HandOff.decode(document, max_bytes=len(document), max_pixels=8191)
    with pytest.raises(handoff.HandOffTooLargeError, match=r"^header of \d+ bytes, allowed are 131072$"):
        decode(with_metadata(x="x" * 131_072))
    HandOff.decode(document, max_bytes=len(document), max_pixels=8192)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        (b"", handoff.NotSafetensorsError),
        (b"\x80\x04\x95pickle", handoff.NotSafetensorsError),
        (struct.pack("<Q", 2**63) + b"{}", handoff.NotSafetensorsError),
        (struct.pack("<Q", 9) + b'{"a":"\xff"}', handoff.NotSafetensorsError),
        (joined([], DATA), handoff.NotSafetensorsError),
        (joined(HEADER, DATA[:-1]), handoff.NotSafetensorsError),
        (joined(HEADER, DATA + b"x"), handoff.NotSafetensorsError),
        (with_tensor("latents", dtype="F17"), handoff.NotSafetensorsError),
        (with_tensor("latents", data_offsets=[0, 6080]), handoff.NotSafetensorsError),
        (with_tensor("latents", shape=[2**40, 2**40]), handoff.NotSafetensorsError),
        (joined({}, b""), handoff.FormatNameError),
        (joined({"__metadata__": None}, b""), handoff.FormatNameError),
        (with_metadata(format=None), handoff.FormatNameError),
        (with_metadata(format="pt"), handoff.FormatNameError),
        (with_metadata(version="1"), handoff.VersionError),
        (with_metadata(version=None), handoff.VersionError),
        (
            joined({**HEADER, "x": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}}, DATA),
            handoff.TensorNameError,
        ),
        (joined({"__metadata__": HEADER["__metadata__"]}, b""), handoff.TensorNameError),
        (with_tensor("latents", dtype="I16"), handoff.TensorDtypeError),
        (with_tensor("generator_state", dtype="I8"), handoff.TensorDtypeError),
        (with_tensor("generator_state", shape=[1, 5056]), handoff.TensorShapeError),
        (with_tensor("latents", shape=[512]), handoff.TensorShapeError),
        (with_tensor("latents", shape=[4, 1, 8, 16]), handoff.TensorShapeError),
        (with_tensor("latents", shape=[1, 4, 8, 16] + [1] * 500), handoff.TensorShapeError),
        (with_tensor("latents", shape=[1, 4, 16, 8]), handoff.LatentSizeError),
        (with_metadata(width="256"), handoff.LatentSizeError),
        (joined(HEADER, b"\x00\x7c" + DATA[2:]), handoff.NonFiniteError),
        (joined(HEADER, b"\x01\x7e" + DATA[2:]), handoff.NonFiniteError),
        (with_tensor("mask", dtype="I8"), handoff.TensorDtypeError),
        (with_tensor("mask", dtype="BOOL"), handoff.TensorDtypeError),
        (with_tensor("mask", shape=[8, 16]), handoff.TensorShapeError),
        (with_tensor("mask", shape=[1, 4, 4, 8]), handoff.TensorShapeError),
        (with_tensor("mask", shape=[1, 1, 16, 8]), handoff.LatentSizeError),
        (make(has_mask=True).encode()[:-1] + b"\x02", handoff.MaskValueError),
        (make(has_mask=True).encode()[:-1] + b"\xff", handoff.MaskValueError),
        (
            joined({"mask": HEADER["latents"], "__metadata__": HEADER["__metadata__"]}, DATA[:1024]),
            handoff.TensorNameError,
        ),
        (joined(HEADER, DATA[:1024] + bytes(5056)), handoff.GeneratorStateError),
        (with_state(8, "<i", 0), handoff.GeneratorStateError),
        (with_state(8, "<i", 625), handoff.GeneratorStateError),
        (with_state(8, "<i", 624), handoff.GeneratorStateError),  # torch accepts it, then reads past the end
        (with_state(16, "<Q", 2**32 + 1), handoff.GeneratorStateError),
    ],
)
def test_each_fault_has_its_error(document: bytes, error: type[HandOffError]) -> None:
    with pytest.raises(error) as raised:
        decode(document)
    assert type(raised.value) is error
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("mode", "none"),
        ("mode", None),
        ("cutoff", None),
        ("cutoff", "1001"),
        ("cutoff", "200.0"),
        ("strength", "0.3"),
        ("prompt", ""),
        ("prompt", None),
        ("negative_prompt", "x" * 8001),
        ("prompt_syntax", "compel"),
        ("long_prompts", "yes"),
        ("steps_done", "-1"),
        ("clip_skip", "-1"),
        ("width", "132"),
        ("width", "0"),
        ("width", "8" * 4_000),
        ("height", '"64"'),
        ("height", "true"),
        ("height", "6_4"),
        ("original_size", "[1, 2, 3]"),
        ("target_size", "[1, -2]"),
        ("target_size", "{}"),
        ("target_size", "[" * 50_000),
        ("aesthetic_score", "NaN"),
        ("aesthetic_score", "1e999"),
        ("negative_aesthetic_score", "10.1"),
        ("scheduler", "plms"),
        ("scheduler", "dpmpp_2m_karras"),
        ("schedule", None),
        ("schedule", "simple"),
        ("sampler_digest", "F" * 64),
        ("base_digest", "f" * 64 + "\n"),
        ("num_inference_steps", "151"),
        ("guidance_scale", "30.5"),
        ("guidance_rescale", ""),
        ("guidance_end", "0"),
        ("seed", "4294967296"),
        ("colour", "blue"),
    ],
)
def test_a_metadata_fault_names_its_field(field: str, text: str | None) -> None:
    with pytest.raises(MetadataFieldError, match=rf"^hand-off field \"?{field}\b.*: ") as raised:
        decode(with_metadata(**{field: text}))
    assert len(str(raised.value)) < 400


def test_the_constructor_keeps_the_same_bounds() -> None:
    for changes in ({"prompt": "\ud800"}, {"cutoff": None}, {"strength": 0.5}, {"width": 68}, {"seed": -1}):
        with pytest.raises(ValidationError):
            make(**changes)


def test_a_schedule_that_the_sampler_cannot_have() -> None:
    with pytest.raises(MetadataFieldError, match=r'hand-off field schedule: got "karras".*: .*default'):
        decode(with_metadata(scheduler="lcm", schedule="karras"))
