"""Prompts of any length as the text encoders read them: in chunks of 75 tokens, with a weight for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sdxl.prompt.weights import Passage

CHUNK_TOKENS = 77  # of an encoder's context: 75, the beginning and the end
OWN_TOKENS = CHUNK_TOKENS - 2
COMMA = ",</w>"
COMMA_WITHIN = 20  # tokens: AUTOMATIC1111's default for moving what follows a comma into the next chunk


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One context of a text encoder."""

    tokens: tuple[int, ...]  # CHUNK_TOKENS
    weights: tuple[float, ...]  # CHUNK_TOKENS; 1 for what is not the prompt's own


@dataclass(kw_only=True)
class _Chunks:
    """Those that are full, and the one that is being filled."""

    tokenizer: Any
    comma: int | None  # None: words are parted wherever a chunk is full
    full: list[Chunk] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    last_comma: int | None = None

    def add(self, unit: Sequence[int], weight: float) -> None:
        """Tokens that stay together: one, or a textual inversion's."""
        is_full = len(self.tokens) == OWN_TOKENS
        if unit[0] == self.comma:
            self.last_comma = None if is_full else len(self.tokens)
        elif is_full and self.last_comma is not None and OWN_TOKENS - self.last_comma <= COMMA_WITHIN:
            self.end_at(self.last_comma)
        if len(self.tokens) + len(unit) > OWN_TOKENS:
            self.end()
        self.tokens += unit
        self.weights += [weight] * len(unit)

    def end_at(self, last: int) -> None:
        """What follows the token at that place begins the next chunk."""
        first = last + 1
        tokens, weights = self.tokens[first:], self.weights[first:]
        del self.tokens[first:], self.weights[first:]
        self.end()
        self.tokens, self.weights = tokens, weights

    def end(self) -> None:
        """Fills the chunk up as diffusers' tokenizers do, and begins another one."""
        begin, end, padding = (getattr(self.tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad"))
        free = OWN_TOKENS - len(self.tokens)
        self.full.append(
            Chunk(
                tokens=(begin, *self.tokens, end, *[padding] * free),
                weights=(1.0, *self.weights, 1.0, *[1.0] * free),
            )
        )
        self.tokens, self.weights, self.last_comma = [], [], None


def chunks(
    passages: Sequence[Passage], tokenizer: Any, groups: Mapping[int, int], *, parts_at_commas: bool
) -> list[Chunk]:
    """At least one; each passage but the first begins another one.

    `groups` has the count of a textual inversion's tokens by the first of them. `parts_at_commas`: when a chunk is full
    and its last comma is near, what follows the comma goes into the next one.
    """
    comma = tokenizer.get_vocab().get(COMMA) if parts_at_commas else None
    made = _Chunks(tokenizer=tokenizer, comma=comma)
    for index, passage in enumerate(passages):
        if index > 0:
            made.end()
        for part in passage:
            tokens = tokenizer(part.text, add_special_tokens=False, verbose=False).input_ids
            at = 0
            while at < len(tokens):
                count = min(groups.get(tokens[at], 1), OWN_TOKENS)
                made.add(tokens[at : at + count], part.weight)
                at += count
    if made.tokens or not made.full:
        made.end()
    return made.full


def empty_chunk(tokenizer: Any) -> Chunk:
    """What stands where an encoder's prompt has fewer chunks than the other one's."""
    return chunks([()], tokenizer, {}, parts_at_commas=False)[0]
