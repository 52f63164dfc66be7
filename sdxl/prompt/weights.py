"""How strongly each part of a prompt counts, and where BREAK parts it, by AUTOMATIC1111's rules of emphasis.

`(x)` multiplies by 1.1, `[x]` divides by it, `(x:1.3)` multiplies by 1.3. Nesting multiplies. A backslash makes a
bracket mean itself. A bracket that is never closed counts until the end; one that was never opened is text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

ROUND, SQUARE = 1.1, 1 / 1.1
MAX_WEIGHT = 10.0

# In this order: an escaped character, a lone backslash, a weight with its bracket, a bracket or colon, text.
_TOKEN = re.compile(
    r"\\(?P<escaped>[()\[\]\\])"
    r"|(?P<backslash>\\)"
    r"|:\s*(?P<weight>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))\s*\)"
    r"|(?P<mark>[()\[\]:])"
    r"|(?P<text>[^\\()\[\]:]+)"
)
_BREAK = re.compile(r"\s*\bBREAK\b\s*")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of text, as the tokenizers get it."""

    text: str
    weight: float = 1.0
    """From -MAX_WEIGHT to MAX_WEIGHT; positive, unless the prompt has a number that is not."""


Passage = tuple[Part, ...]
"""What stands between two BREAKs; neighbours differ in weight."""


def passages(prompt: str) -> tuple[Passage, ...]:
    """At least one, which may be empty. Nothing is an error: what is not as the rules have it is text."""
    reader = _Reader()
    for found in _TOKEN.finditer(prompt):
        reader.take(found)
    return reader.passages()


class _Reader:
    def __init__(self) -> None:
        self._texts: list[str | None] = []  # None is a BREAK
        self._open: dict[str, list[int]] = {"(": [], "[": []}  # at which text each bracket was opened
        self._spans: list[tuple[int, int, float]] = []  # from and up to which text, and by how much

    def take(self, found: re.Match[str]) -> None:
        kind, token = found.lastgroup, found[0]
        if kind == "escaped":
            self._texts.append(found["escaped"])
        elif kind == "backslash":
            return
        elif kind == "weight" and self._open["("]:
            self._close("(", float(found["weight"]))
        elif token in self._open:
            self._open[token].append(len(self._texts))
        elif token == ")" and self._open["("]:
            self._close("(", ROUND)
        elif token == "]" and self._open["["]:
            self._close("[", SQUARE)
        else:
            first, *others = _BREAK.split(token)
            self._texts.append(first)
            for other in others:
                self._texts += [None, other]

    def passages(self) -> tuple[Passage, ...]:
        for bracket, factor in (("(", ROUND), ("[", SQUARE)):
            while self._open[bracket]:
                self._close(bracket, factor)
        made: list[list[Part]] = [[]]
        for text, weight in zip(self._texts, self._weights(), strict=True):
            if text is None:
                made.append([])
            elif made[-1] and made[-1][-1].weight == weight:
                made[-1][-1] = Part(text=made[-1][-1].text + text, weight=weight)
            else:
                made[-1].append(Part(text=text, weight=weight))
        return tuple(tuple(part for part in parts if part.text) for parts in made)

    def _close(self, bracket: str, factor: float) -> None:
        self._spans.append((self._open[bracket].pop(), len(self._texts), factor))

    def _weights(self) -> list[float]:
        """By numpy, for a prompt may open thousands of brackets and close none."""
        weights = np.ones(len(self._texts))
        for start, end, factor in self._spans:
            weights[start:end] *= factor
            np.clip(weights[start:end], -MAX_WEIGHT, MAX_WEIGHT, out=weights[start:end])
        found: list[float] = weights.tolist()
        return found
