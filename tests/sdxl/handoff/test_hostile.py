"""Hostile hand-off documents: refused quickly, and with nothing but a HandOffError."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdxl.handoff.fields import HandOffError
from tests.sdxl.handoff.documents import DATA, ENSEMBLE, decode, joined, make, with_metadata, with_tensor


@pytest.mark.parametrize(
    "document",
    [
        with_metadata(**{f"{i}": "" for i in range(9_000)}),
        joined({f"{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(2_000)}, b""),
        b"\xff" * 1_000_000,
        with_metadata(prompt="\x00" * 20_000),
        with_tensor("mask", shape=[1, 1, 2**31, 2**31]),
        with_tensor("mask", shape=[0, 1, 8, 16], data_offsets=[0, 0]),
        with_tensor("mask", data_offsets=[0, 128]),
    ],
)
def test_hostile_documents_are_refused_quickly(document: bytes) -> None:
    fastest_s = math.inf
    for _ in range(5):
        start_s = time.perf_counter()
        with pytest.raises(HandOffError):
            decode(document)
        fastest_s = min(fastest_s, time.perf_counter() - start_s)
    assert fastest_s < 0.05


DOCUMENT = make().encode()
HEADER_END = len(DOCUMENT) - len(DATA)
SETTINGS = settings(max_examples=200, deadline=None)


def decodes_or_is_refused(document: bytes) -> None:
    try:
        decoded = decode(document)
    except HandOffError:
        return
    assert torch.isfinite(decoded.latents).all()
    if decoded.mask is not None:
        assert decoded.mask.shape == (1, 1, *decoded.latents.shape[2:])
        assert decoded.mask.max() <= 1
    torch.randn(1_000, generator=torch.Generator("cpu").set_state(decoded.generator_state))


@SETTINGS
@given(st.binary(max_size=200))
def test_random_bytes(document: bytes) -> None:
    with pytest.raises(HandOffError):
        decode(document)


@SETTINGS
@given(st.integers(0, len(DOCUMENT) - 1))
def test_truncations(length: int) -> None:
    with pytest.raises(HandOffError):
        decode(DOCUMENT[:length])


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, HEADER_END + 300), st.integers(0, 7)), min_size=1, max_size=4))
def test_bit_flips(flips: list[tuple[int, int]]) -> None:
    document = bytearray(DOCUMENT)
    for offset, bit in flips:
        document[offset] ^= 1 << bit
    decodes_or_is_refused(bytes(document))


MASKED = make(has_mask=True).encode()


@SETTINGS
@given(st.lists(st.tuples(st.integers(0, len(MASKED) - 1), st.integers(0, 7)), min_size=1, max_size=4))
def test_bit_flips_with_a_mask(flips: list[tuple[int, int]]) -> None:
    document = bytearray(MASKED)
    for offset, bit in flips:
        document[offset] ^= 1 << bit
    decodes_or_is_refused(bytes(document))


@SETTINGS
@given(st.sampled_from(sorted(ENSEMBLE)), st.text(max_size=20) | st.floats().map(str) | st.integers().map(str))
def test_any_text_in_any_field(field: str, text: str) -> None:
    decodes_or_is_refused(with_metadata(**{field: text}))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@SETTINGS
@given(
    st.sampled_from(["latents", "generator_state", "mask"]),
    st.sampled_from(["dtype", "shape", "data_offsets", "x"]),
    JSON_VALUES,
)
def test_any_json_in_the_header(name: str, key: str, value: object) -> None:
    decodes_or_is_refused(with_tensor(name, **{key: value}))
