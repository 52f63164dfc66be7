"""Emphasis, by the rules that AUTOMATIC1111's wiki documents: which text gets which weight."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdxl.prompt.weights import MAX_WEIGHT, Part, passages

UP, DOWN = 1.1, 1 / 1.1
Expected = list[tuple[str, float]]

# fmt: off
TABLE: list[tuple[str, Expected]] = [
    ("", []),
    ("a red cube", [("a red cube", 1)]),
    ("a (red) cube", [("a ", 1), ("red", UP), (" cube", 1)]),
    ("a [red] cube", [("a ", 1), ("red", DOWN), (" cube", 1)]),
    ("a ((red)) cube", [("a ", 1), ("red", UP**2), (" cube", 1)]),
    ("a [[red]] cube", [("a ", 1), ("red", DOWN**2), (" cube", 1)]),
    ("(((red)))", [("red", UP**3)]),
    ("[[[red]]]", [("red", DOWN**3)]),
    ("([red])", [("red", 1)]),
    ("[(red)]", [("red", 1)]),
    ("(red:1.3)", [("red", 1.3)]),
    ("(red:0.25) cube", [("red", 0.25), (" cube", 1)]),
    ("(red:.5)", [("red", 0.5)]),
    ("(red:2)", [("red", 2)]),
    ("(red:2.)", [("red", 2)]),
    ("(red: 1.4 )", [("red", 1.4)]),
    ("(red:+1.2)", [("red", 1.2)]),
    ("(red:0)", [("red", 0)]),
    ("(red:-1)", [("red", -1)]),
    ("(a red cube:1.5), white", [("a red cube", 1.5), (", white", 1)]),
    ("((red:1.3) cube)", [("red", 1.3 * UP), (" cube", UP)]),
    ("((red:2) cube:2)", [("red", 4), (" cube", 2)]),
    ("[(red:1.5) cube]", [("red", 1.5 * DOWN), (" cube", DOWN)]),
    ("(a (b (c)))", [("a ", UP), ("b ", UP**2), ("c", UP**3)]),
    ("(a)(b)", [("ab", UP)]),
    ("(a) (b)", [("a", UP), (" ", 1), ("b", UP)]),
    (r"\(red\)", [("(red)", 1)]),
    (r"\[red\]", [("[red]", 1)]),
    (r"red \\ blue", [(r"red \ blue", 1)]),
    (r"(red \(very\):1.3)", [("red (very)", 1.3)]),
    (r"anime_\(style\)", [("anime_(style)", 1)]),
    (r"(\))", [(")", UP)]),
    ("(red", [("red", UP)]),
    ("((red", [("red", UP**2)]),
    ("[red", [("red", DOWN)]),
    ("red)", [("red)", 1)]),
    ("red]", [("red]", 1)]),
    ("(red]", [("red]", UP)]),
    ("[red)", [("red)", DOWN)]),
    ("a (red:1.3 cube", [("a ", 1), ("red:1.3 cube", UP)]),
    ("red:1.3", [("red:1.3", 1)]),
    ("red:1.3)", [("red:1.3)", 1)]),
    ("[red:1.3)", [("red:1.3)", DOWN)]),
    ("(red:high)", [("red:high", UP)]),
    ("(red:1.2.3)", [("red:1.2.3", UP)]),
    ("(red:)", [("red:", UP)]),
    ("(a:b:1.3)", [("a:b", 1.3)]),
    ("(:1.3)", []),
    ("()", []),
    ("(red, blue:1.2), [green]", [("red, blue", 1.2), (", ", 1), ("green", DOWN)]),
    ("(red:1.2), (blue:1.2)", [("red", 1.2), (", ", 1), ("blue", 1.2)]),
    ("((a) [b:c)", [("a", UP**2), (" ", UP), ("b:c", 1)]),
    ("(red:1000)", [("red", MAX_WEIGHT)]),
    ("(red:-1000)", [("red", -MAX_WEIGHT)]),
    ("(rød 赤:1.5) 🟥", [("rød 赤", 1.5), (" 🟥", 1)]),
]
BREAKS: list[tuple[str, list[Expected]]] = [
    ("a BREAK b", [[("a", 1)], [("b", 1)]]),
    ("a\nBREAK\nb", [[("a", 1)], [("b", 1)]]),
    ("BREAK a", [[], [("a", 1)]]),
    ("a BREAK", [[("a", 1)], []]),
    ("a BREAK BREAK b", [[("a", 1)], [], [("b", 1)]]),
    ("(a BREAK b:1.3)", [[("a", 1.3)], [("b", 1.3)]]),
    ("(a:2) BREAK [b]", [[("a", 2)], [("b", DOWN)]]),
    ("BREAKFAST, break, BREAKs", [[("BREAKFAST, break, BREAKs", 1)]]),
    ("a,BREAK,b", [[("a,", 1)], [(",b", 1)]]),
]
# fmt: on
PIECES = st.sampled_from(
    [*"()[]:\\,| \n", "a", "red", "1.3", ":1.3)", "(", "[", "BREAK", " BREAK ", "-2", "é", "BREAKs"]
)
MESSY = st.lists(PIECES, max_size=40).map("".join) | st.text(max_size=60)


def assert_parts(got: tuple[Part, ...], expected: Expected) -> None:
    assert [part.text for part in got] == [text for text, _ in expected]
    assert [part.weight for part in got] == pytest.approx([weight for _, weight in expected])


@pytest.mark.parametrize(("prompt", "expected"), TABLE, ids=lambda value: value if isinstance(value, str) else "")
def test_weights(prompt: str, expected: Expected) -> None:
    (only,) = passages(prompt)
    assert_parts(only, expected)


@pytest.mark.parametrize(
    ("prompt", "expected"), BREAKS, ids=lambda value: repr(value) if isinstance(value, str) else ""
)
def test_break(prompt: str, expected: list[Expected]) -> None:
    got = passages(prompt)
    assert len(got) == len(expected)
    for parts, wanted in zip(got, expected, strict=True):
        assert_parts(parts, wanted)


@given(MESSY)
@example("(" * 200 + "a" + ")" * 100)
def test_any_text_is_read_and_none_of_it_is_lost(prompt: str) -> None:
    """All letters come back, in their order, except for BREAK; and of all that stands for weights, no other sign."""
    got = "".join(part.text for parts in passages(prompt) for part in parts)
    letters = re.compile(r"[^\W\d_]+")
    without_breaks = re.sub(r"\bBREAK\b", " ", prompt)
    assert "".join(letters.findall(re.sub(r"\bBREAK\b", "", got))) == "".join(letters.findall(without_breaks))


@given(MESSY)
def test_weights_are_finite_and_positive_unless_a_number_is_not(prompt: str) -> None:
    prompt = prompt.replace("-", "")
    weights = [part.weight for parts in passages(prompt) for part in parts]
    has_zero = re.search(r":\s*\+?[0.]*0[0.]*\s*\)", prompt) is not None
    assert all(0 < weight <= MAX_WEIGHT or (has_zero and weight == 0) for weight in weights)


@given(st.text(st.characters(exclude_characters="()[]\\:"), max_size=60).filter(lambda text: "BREAK" not in text))
def test_a_text_without_signs_stays_as_it_is(prompt: str) -> None:
    assert passages(prompt) == (((Part(text=prompt),) if prompt else ()),)


def test_thousands_of_brackets_take_no_time() -> None:
    """Were each to go over all that follows one by one, this would take minutes."""
    (parts,) = passages("(a[" * 2_600)
    assert "".join(part.text for part in parts) == "a" * 2_600
    assert parts[-1].weight <= MAX_WEIGHT
