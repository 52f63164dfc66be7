"""Which identities work together while replicas differ."""

from __future__ import annotations

from collections import Counter

import pytest

from entry.fleet.fleet import Pair, choose
from sdxl.handoff.identity import Identity
from tests.entry.fleet.false_runner import IDENTITY

OLD = IDENTITY
NEW = OLD.model_copy(update={"checkpoint": "n" * 64})
VERSION_2 = OLD.model_copy(update={"handoff_version": "2"})


@pytest.mark.parametrize(
    ("bases", "refiners", "before", "expected"),
    [
        ({OLD: 1}, {OLD: 1}, (None, None), (OLD, OLD)),
        ({OLD: 2, NEW: 1}, {OLD: 1}, (OLD, OLD), (OLD, OLD)),
        ({OLD: 1, NEW: 2}, {OLD: 3}, (OLD, OLD), (NEW, OLD)),
        ({OLD: 1, NEW: 1}, {OLD: 1}, (OLD, OLD), (OLD, OLD)),  # a tie changes nothing
        ({OLD: 1, NEW: 1}, {OLD: 1}, (NEW, OLD), (NEW, OLD)),
        ({OLD: 3, VERSION_2: 1}, {VERSION_2: 1}, (OLD, OLD), (VERSION_2, VERSION_2)),  # what fits, be it scarce
        ({OLD: 3, VERSION_2: 2}, {OLD: 1, VERSION_2: 2}, (OLD, OLD), (VERSION_2, VERSION_2)),
        ({OLD: 2}, {VERSION_2: 2}, (OLD, OLD), (None, None)),
        ({OLD: 1, NEW: 2}, {}, (OLD, OLD), (NEW, None)),
        ({}, {}, (OLD, OLD), (None, None)),
    ],
)
def test_choose(bases: dict[Identity, int], refiners: dict[Identity, int], before: Pair, expected: Pair) -> None:
    assert choose(Counter(bases), Counter(refiners), before) == expected


def test_disagreements_are_named() -> None:
    assert OLD.disagreements(NEW) == []
    assert OLD.disagreements(VERSION_2) == ["handoff_version: base 1, refiner 2"]
