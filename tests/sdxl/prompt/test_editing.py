"""Prompt editing and alternating words, by the rules that AUTOMATIC1111's wiki documents."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdxl.prompt.editing import MAX_DEPTH, texts_at

# fmt: off
# The prompt, of 10 steps; the text, by the first step that has it.
TABLE: list[tuple[str, dict[int, str]]] = [
    ("a cube", {1: "a cube"}),
    ("a [cube:cone:3]", {1: "a cube", 4: "a cone"}),
    ("a [cube:cone:0.5]", {1: "a cube", 6: "a cone"}),
    ("a [cube:cone:.25]", {1: "a cube", 3: "a cone"}),
    ("a [cube:cone:1]", {1: "a cube", 2: "a cone"}),
    ("a [cube:cone:1.0]", {1: "a cube"}),
    ("a [cube:cone:0]", {1: "a cone"}),
    ("a [cube:cone:0.0]", {1: "a cone"}),
    ("a [cube:cone:-2]", {1: "a cone"}),
    ("a [cube:cone:99]", {1: "a cube"}),
    ("a [cube:cone:1e400]", {1: "a cube"}),
    ("a [cube: cone : 3 ]", {1: "a cube", 4: "a  cone "}),
    ("a [cube:3]", {1: "a ", 4: "a cube"}),
    ("a [cube::3]", {1: "a cube", 4: "a "}),
    ("a [:cube:3]", {1: "a ", 4: "a cube"}),
    ("[a:b:2] [c:d:4]", {1: "a c", 3: "b c", 5: "b d"}),
    ("[a:[b:c:6]:3]", {1: "a", 4: "b", 7: "c"}),
    ("[[a::6]:3]", {1: "", 4: "a", 7: ""}),
    ("[a|b]", dict(enumerate("abababababa"[:10], 1))),
    ("[a|b|c] d", {step: f"{'abc'[(step - 1) % 3]} d" for step in range(1, 11)}),
    ("[a|]", {step: "a" if step % 2 else "" for step in range(1, 11)}),
    ("[[a|b]:c:2]", {1: "a", 2: "b", 3: "c"}),
    ("[a|[b:c:5]]", {1: "a", 2: "b", 3: "a", 4: "b", 5: "a", 6: "c", 7: "a", 8: "c", 9: "a", 10: "c"}),
    ("([a:b:5]:1.3)", {1: "(a:1.3)", 6: "(b:1.3)"}),
    ("[(a:1.3):b:5]", {1: "(a:1.3)", 6: "b"}),
    ("[(a:2):3]", {1: "", 4: "(a:2)"}),
    ("[[a]]", {1: "[[a]]"}),
    ("[[[a]]:2]", {1: "", 3: "[[a]]"}),
    ("a [b", {1: "a [b"}),
    ("a b]", {1: "a b]"}),
    ("(a [b:c:5]", {1: "(a b", 6: "(a c"}),
    ("((a][:b:c [d:3]", {1: "((a][:b:c ", 4: "((a][:b:c d"}),
    ("[a (b:c:5]", {1: "[a (b:c:5]"}),
    ("[a:b:soon]", {1: "[a:b:soon]"}),
    ("[a:b:c:5]", {1: "[a:b:c:5]"}),
    ("[a:b:5:]", {1: "[a:b:5:]"}),
    ("[a|b:c:5]", {1: "[a|b:c:5]"}),
    ("a | [b:c:5]", {1: "a | [b:c:5]"}),
    ("[b:c:5] \\", {1: "[b:c:5] \\"}),
    (r"\[a:b:5\]", {1: r"\[a:b:5\]"}),
    (r"[a\:x:b:5]", {1: r"a\:x", 6: "b"}),
    ("a:b, [c:d:5]", {1: "a:b, c", 6: "a:b, d"}),
    ("[a\nb:c:5]", {1: "a\nb", 6: "c"}),
]
# fmt: on
PIECES = st.sampled_from([*"[]():|\\ ", "a", "b", ":3]", ":0.5]", "[x:y:2]", "[p|q]", "1"])
MESSY = st.lists(PIECES, max_size=40).map("".join)


@pytest.mark.parametrize(("prompt", "by_step"), TABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_texts(prompt: str, by_step: dict[int, str]) -> None:
    current, expected = "", []
    for step in range(1, 11):
        current = by_step.get(step, current)
        expected.append(current)
    assert texts_at(prompt, range(1, 11), 10) == expected


def test_steps_are_those_that_are_asked_for() -> None:
    """A refiner begins later, a sampler of second order takes each step twice; after the last step it goes on so."""
    assert texts_at("[a:b:0.5]", [5, 6, 6, 21], 10) == ["a", "b", "b", "b"]
    assert texts_at("[a|b]", [4, 5, 11, 12], 10) == ["b", "a", "a", "b"]


@given(MESSY, st.integers(1, 12))
def test_any_text_is_read(prompt: str, steps: int) -> None:
    texts = texts_at(prompt, range(1, steps + 1), steps)
    assert len(texts) == steps
    for text in texts:
        kept = iter(prompt)
        assert all(sign in kept for sign in text), "nothing comes that was not there, nor in another order"


@given(MESSY)
def test_what_is_no_editing_stays_as_it_is(prompt: str) -> None:
    """Without numbers and bars there is nothing to edit."""
    prompt = re.sub(r"[0-9|]", "", prompt)
    assert texts_at(prompt, [1, 5, 9], 9) == [prompt] * 3


def test_deep_brackets_are_text() -> None:
    depth = MAX_DEPTH - 1
    prompt = "[" * depth + "a" + ":2]" * depth
    assert texts_at(prompt, [1, 3], 5) == ["", "a"]
    deeper = "[" * 2_000 + "a" + ":2]" * 2_000
    assert texts_at(deeper, [1, 3], 5) == [deeper, deeper]
