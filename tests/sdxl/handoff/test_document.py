"""The hand-off: round trip, golden bytes, and every kind of fault."""

import hashlib
import json
import math
import struct
from typing import Any

import pytest
import torch
from safetensors.torch import load

from sdxl.handoff import document as handoff
from sdxl.handoff import size
from sdxl.handoff.document import HandOff
from sdxl.handoff.fields import MetadataFieldError
from tests.sdxl.handoff.documents import (
    ENSEMBLE,
    decode,
    make,
    parts,
    with_metadata,
)

GOLDEN_SHA256 = "13a9eec5ab1e2d0495f107bd920a1472194c18328292376f3faf1d4adf421cd5"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_round_trip_is_exact(dtype: torch.dtype) -> None:
    sent = make(dtype, prompt_2="", negative_prompt="\x00 \"'\\", clip_skip=2, guidance_scale=0.1 + 0.2)
    received = decode(sent.encode())
    assert received.fields == sent.fields
    assert received.latents.dtype == dtype
    assert torch.equal(received.latents, sent.latents)
    assert torch.equal(received.generator_state, sent.generator_state)


def test_round_trip_of_sdedit() -> None:
    sent = make(mode="sdedit", cutoff=None, strength=0.3)
    assert decode(sent.encode()).fields == sent.fields


@pytest.mark.parametrize("mode", [{}, {"mode": "sdedit", "cutoff": None, "strength": 0.3}], ids=str)
def test_round_trip_with_a_mask(mode: dict[str, Any]) -> None:
    sent = make(has_mask=True, **mode)
    received = decode(sent.encode())
    assert sent.mask is not None
    assert received.mask is not None
    assert received.mask.dtype == torch.uint8
    assert torch.equal(received.mask, sent.mask)
    assert 0 < sent.mask.sum() < sent.mask.numel()
    assert torch.equal(received.latents, sent.latents)
    assert torch.equal(received.generator_state, sent.generator_state)
    assert decode(make().encode()).mask is None


def test_round_trip_of_loras() -> None:
    sent = make(loras=({"name": "style"}, {"name": "a.b-c_1", "scale": -0.25}))
    assert decode(sent.encode()).fields == sent.fields
    header, _ = parts(sent.encode())
    assert json.loads(header["__metadata__"]["loras"]) == [
        {"name": "style", "scale": 1.0},
        {"name": "a.b-c_1", "scale": -0.25},
    ]
    assert "loras" not in parts(make(loras=()).encode())[0]["__metadata__"]


@pytest.mark.parametrize(
    "loras", ['"style"', '[{"name": "a:b"}]', '[{"name": "a", "scale": 4.5}]', '[{"name": "a", "scale": NaN}]', "[1]",
              '[{"name": "a"}, {"name": "a"}]', '[{"name": "a", "path": "/etc"}]', "[" * 500]
)  # fmt: skip
def test_loras_that_are_none(loras: str) -> None:
    with pytest.raises(MetadataFieldError, match="hand-off field loras"):
        decode(with_metadata(loras=loras))


def test_the_largest_document_has_a_mask() -> None:
    document = make(torch.float32, has_mask=True).encode()
    header, data = parts(document)
    assert header["mask"] == {"dtype": "U8", "shape": [1, 1, 8, 16], "data_offsets": [7_104, 7_232]}
    assert len(data) == size.max_bytes(128 * 64) - size.MAX_HEADER_BYTES - 8


def test_the_refiner_draws_what_the_base_would_have_drawn() -> None:
    for draws in (0, 1, 15, 16, 623, 624, 625, 5_000):
        base = torch.Generator("cpu").manual_seed(3)
        torch.randn(draws, generator=base)
        document = HandOff(fields=make().fields, latents=make().latents, generator_state=base.get_state()).encode()
        refiner = torch.Generator("cpu")
        refiner.set_state(decode(document).generator_state)
        assert torch.equal(torch.randn(1_000, generator=refiner), torch.randn(1_000, generator=base))


def test_latents_of_a_batch_are_sliced_as_they_are() -> None:
    batch = torch.randn(3, 16, 8, 4).permute(0, 3, 2, 1)  # not contiguous
    sent = HandOff(fields=make().fields, latents=batch[1:2], generator_state=make().generator_state)
    assert torch.equal(decode(sent.encode()).latents, batch[1:2])


def test_golden_bytes() -> None:
    document = make().encode()
    header, data = parts(document)
    assert document[8:].startswith(b'{"__metadata__":{"aesthetic_score":"6.0","base_digest":"ffff')
    assert header["latents"] == {"dtype": "F16", "shape": [1, 4, 8, 16], "data_offsets": [0, 1024]}
    assert header["generator_state"] == {"dtype": "U8", "shape": [5056], "data_offsets": [1024, 6080]}
    assert header["__metadata__"]["format"] == "sdxl-relay-handoff"
    assert header["__metadata__"]["version"] == "2"
    assert header["__metadata__"]["crops_coords_top_left"] == "[0, 8]"
    assert header["__metadata__"]["prompt"] == ENSEMBLE["prompt"]
    assert not header["__metadata__"].keys() & {"prompt_2", "strength", "clip_skip"}
    assert struct.unpack("<e", data[:2]) == (-2.0,)
    assert (len(document) - len(data)) % 8 == 0
    assert hashlib.sha256(document).hexdigest() == GOLDEN_SHA256


def test_safetensors_reads_what_we_write() -> None:
    assert torch.equal(load(make().encode())["latents"], make().latents)


def test_generator_state_has_torch_s_size() -> None:
    assert torch.Generator("cpu").get_state().numel() == size.GENERATOR_STATE_BYTES


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_non_finite_latents_in_each_dtype(dtype: torch.dtype) -> None:
    largest = torch.finfo(dtype).max
    sent = make(dtype)
    sent.latents[0, 0, 0, :2] = torch.tensor([largest, -largest])
    decode(sent.encode())
    for value in (math.nan, math.inf, -math.inf):
        sent.latents[0, 3, 7, 15] = value
        with pytest.raises(handoff.NonFiniteError):
            decode(sent.encode())
