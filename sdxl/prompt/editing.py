"""Prompts that change with the step, by AUTOMATIC1111's rules of prompt editing and alternating words.

`[from:to:when]` is `from` for the first `when` steps and `to` afterwards; `[to:when]` begins with nothing, and
`[from::when]` ends with nothing. A `when` with a decimal point is a share of the steps. `[a|b|c]` is another one at
each step, in turn. All of them may be nested, and stand in round brackets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

MAX_DEPTH = 60  # of brackets; whoever nests deeper is read as it stands

_TOKEN = re.compile(r"\\.|[\[\]():|]|[^\\\[\]():|]+|\\", re.DOTALL)  # the last: a backslash at the end
_WHEN = re.compile(r"\s*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*")


@dataclass(frozen=True, kw_only=True)
class _Edited:
    before: Sequence[_Node]
    after: Sequence[_Node]
    when: str


@dataclass(frozen=True, kw_only=True)
class _Alternating:
    options: Sequence[Sequence[_Node]]


_Node = str | _Edited | _Alternating


class _AsItStandsError(Exception):
    """The prompt has what AUTOMATIC1111's grammar does not: nothing in it is edited."""


@dataclass(kw_only=True)
class _Open:
    """A bracket that is open, with what has come since, parted by its colons and bars."""

    bracket: str
    segments: list[list[_Node]] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)
    has_stray: bool = False  # a bracket or colon within that belongs to nothing: this is no editing then

    def closed(self, closing: str) -> tuple[list[_Node], bool]:
        """What it means, and whether that is sound as a part of another bracket."""
        bars, colons = (self.separators.count(sign) for sign in "|:")
        if self.bracket == "[" and bars and not colons and not self.has_stray:
            return [_Alternating(options=self.segments)], True
        if self.bracket == "[" and not self.has_stray and not bars and colons in (1, 2) and (when := self._when()):
            before = self.segments[0] if colons == 2 else []
            return [_Edited(before=before, after=self.segments[-2], when=when)], True
        most_colons = 1 if self.bracket == "(" else 0
        return [self.bracket, *self.flat(), closing], colons <= most_colons and not self.has_stray

    def flat(self) -> list[_Node]:
        """As it stands."""
        if "|" in self.separators:
            raise _AsItStandsError
        nodes = list(self.segments[0])
        for separator, segment in zip(self.separators, self.segments[1:], strict=True):
            nodes += [separator, *segment]
        return nodes

    def _when(self) -> str | None:
        last = self.segments[-1]
        found = _WHEN.fullmatch(last[0]) if len(last) == 1 and isinstance(last[0], str) else None
        return found and found[1]


def texts_at(prompt: str, numbers: Sequence[int], steps: int) -> list[str]:
    """The prompt at each of the steps of these numbers, the first of which is 1, where there are `steps` in all."""
    nodes = _parsed(prompt)
    texts = {number: "".join(_strings(nodes, number, steps)) for number in set(numbers)}
    return [texts[number] for number in numbers]


@lru_cache(maxsize=64)
def _parsed(prompt: str) -> tuple[_Node, ...]:
    if "[" not in prompt:
        return (prompt,)
    try:
        return tuple(_nodes(prompt))
    except _AsItStandsError:
        return (prompt,)


def _nodes(prompt: str) -> list[_Node]:
    stack = [_Open(bracket="")]
    for token in _TOKEN.findall(prompt):
        innermost = stack[-1]
        if token in "([":
            stack.append(_Open(bracket=token))
            if len(stack) > MAX_DEPTH:
                raise _AsItStandsError
        elif token in ")]":
            if innermost.bracket == {")": "(", "]": "["}[token]:
                nodes, is_sound = stack.pop().closed(token)
                stack[-1].segments[-1] += nodes
                stack[-1].has_stray |= not is_sound
            else:
                innermost.segments[-1].append(token)
                innermost.has_stray = True
        elif token in ":|":
            innermost.separators.append(token)
            innermost.segments.append([])
        elif token == "\\":
            raise _AsItStandsError
        else:
            innermost.segments[-1].append(token)
    nodes = stack[0].flat()
    for unclosed in stack[1:]:
        nodes += [unclosed.bracket, *unclosed.flat()]
    return nodes


def _strings(nodes: Sequence[_Node], number: int, steps: int) -> list[str]:
    found: list[str] = []
    for node in nodes:
        match node:
            case str():
                found.append(node)
            case _Edited():
                is_before = number <= _last_step(node.when, steps)
                found += _strings(node.before if is_before else node.after, number, steps)
            case _Alternating():
                found += _strings(node.options[(number - 1) % len(node.options)], number, steps)
    return found


def _last_step(when: str, steps: int) -> int:
    """The last step before the change; 0 if it comes before the first."""
    value = float(when) * steps if "." in when else float(when)
    return int(max(0.0, min(steps, value)))
