"""How a prompt's tokens fill chunks, by AUTOMATIC1111's rules."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from sdxl.models.chunks import CHUNK_TOKENS, COMMA, Chunk, chunks
from sdxl.prompt.weights import passages
from tests.conftest import MINI

FIRST = CLIPTokenizer.from_pretrained(MINI / "base" / "tokenizer")
SECOND = CLIPTokenizer.from_pretrained(MINI / "base" / "tokenizer_2")
RED = FIRST("red", add_special_tokens=False).input_ids[0]
COMMA_ID = FIRST.get_vocab()[COMMA]
A, B = 1_000_000, 1_000_001  # the first tokens of two textual inversions


class Tokens:
    """A tokenizer of numbers, so that a test says each token itself: `7 7 9`; a comma is 3."""

    bos_token_id, eos_token_id, pad_token_id = 1, 2, 0

    def get_vocab(self) -> dict[str, int]:
        return {COMMA: 3}

    def __call__(self, text: str, **_: Any) -> Any:
        return type("Encoding", (), {"input_ids": [int(word) for word in text.replace(",", " 3 ").split()]})


def made(prompt: str, *, parts_at_commas: bool = True) -> list[Chunk]:
    return chunks(passages(prompt), Tokens(), {A: 2, B: 40}, parts_at_commas=parts_at_commas)


def own(chunk: Chunk) -> list[int]:
    """Without what is around them."""
    assert len(chunk.tokens) == len(chunk.weights) == CHUNK_TOKENS
    assert chunk.tokens[0] == 1
    end = chunk.tokens.index(2)
    assert set(chunk.tokens[end + 1 :]) <= {0}
    assert {chunk.weights[0], *chunk.weights[end:]} == {1.0}
    return list(chunk.tokens[1:end])


def lengths(prompt: str, **options: Any) -> list[int]:
    return [len(own(chunk)) for chunk in made(prompt, **options)]


def sevens(count: int) -> str:
    return " ".join(["7"] * count)


@pytest.mark.parametrize("tokenizer", [FIRST, SECOND], ids=["first", "second"])
@pytest.mark.parametrize("prompt", ["", "a red cube, white background", "red " * 75])
def test_one_chunk_is_what_the_tokenizer_makes(tokenizer: Any, prompt: str) -> None:
    (only,) = chunks(passages(prompt), tokenizer, {}, parts_at_commas=True)
    padded = tokenizer(prompt, padding="max_length", max_length=CHUNK_TOKENS).input_ids
    assert list(only.tokens) == padded
    assert set(only.weights) == {1.0}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("", [0]),
        (sevens(75), [75]),
        (sevens(76), [75, 1]),
        (sevens(225), [75, 75, 75]),
        ("BREAK", [0]),
        ("7 BREAK 7 7", [1, 2]),
        ("7 BREAK", [1]),
        ("BREAK 7", [0, 1]),
        ("7 BREAK BREAK 7", [1, 0, 1]),
        (f"{sevens(75)} BREAK 7", [75, 1]),
        (f"{sevens(70)},{sevens(10)}", [71, 10]),  # 4 follow the comma when the chunk is full
        (f"{sevens(55)},{sevens(30)}", [56, 30]),  # the comma is the 20th from the end: near enough
        (f"{sevens(54)},{sevens(30)}", [75, 10]),  # the 21st
        (f"{sevens(74)},{sevens(3)}", [75, 3]),
        (f"{sevens(75)},{sevens(3)}", [75, 4]),  # a comma itself begins the next chunk
        (f"{sevens(60)},{sevens(5)},{sevens(20)}", [67, 20]),  # the last comma counts
        (f"{sevens(70)},{sevens(75)}", [71, 75]),
        (f"{sevens(70)},{sevens(76)}", [71, 75, 1]),
        (f"({sevens(40)}:1.2) {sevens(40)}", [75, 5]),
        (f"{sevens(74)} {A} {A + 1}", [74, 2]),
        (f"{sevens(73)} {A} {A + 1}", [75]),
        (f"{sevens(36)} " + " ".join(str(B + index) for index in range(40)), [36, 40]),
        (f"{sevens(60)},{sevens(14)} {A} {A + 1}", [61, 16]),
    ],
)
def test_how_chunks_are_filled(prompt: str, expected: list[int]) -> None:
    assert lengths(prompt) == expected


def test_plain_prompts_know_no_commas() -> None:
    assert lengths(f"{sevens(70)},{sevens(10)}", parts_at_commas=False) == [75, 6]


def test_weights_go_with_their_tokens() -> None:
    first, second = made(f"{sevens(70)}, (8 8:1.5) (9 9 9:0.5)")
    assert own(first) == [7] * 70 + [3]
    assert own(second) == [8, 8, 9, 9, 9]
    assert second.weights[1:6] == (1.5, 1.5, 0.5, 0.5, 0.5)


@given(st.lists(st.sampled_from(["7", "8", ",", f"{A} {A + 1}", "(9 9:1.3)", "[8]"]), max_size=400))
def test_no_token_is_lost_or_parted(words: list[str]) -> None:
    prompt = " ".join(words)
    found = made(prompt)
    tokens = [token for chunk in found for token in own(chunk)]
    assert tokens == [int(word) for word in prompt.replace(",", "3").translate(str.maketrans("()[]", "    ")).replace(
        ":1.3", " ").split()]  # fmt: skip
    for chunk in found:
        pairs = list(zip(own(chunk), own(chunk)[1:], strict=False))
        assert own(chunk).count(A) == pairs.count((A, A + 1))


def test_the_comma_is_a_token_of_the_mini() -> None:
    assert FIRST("red, red", add_special_tokens=False).input_ids == [RED, COMMA_ID, RED]
