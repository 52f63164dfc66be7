"""A program sees the LoRAs' styles in drawn scenes, and in none without them."""

from __future__ import annotations

import random

import pytest

from training.scenes import Scene, Solid, draw, scenes
from training.styles import STYLES, complement


@pytest.mark.parametrize("name", STYLES)
def test_it_sees_the_style_where_it_was_drawn(name: str) -> None:
    style, rng = STYLES[name], random.Random(1)
    for scene in scenes(9, 60, held_out=True):
        styled = style.draw(scene, rng)
        assert style.is_seen(styled, scene)
        assert style.is_right(styled, scene)
        assert not style.is_seen(draw(scene, rng), scene)


def test_complement_changes_every_colour() -> None:
    scene = Scene(Solid("red", "cube"), "on top of", Solid("blue", "sphere"), "yellow")
    assert complement(scene).caption == "a green cube on top of an orange sphere, purple background"
    assert all(complement(complement(each)) == each for each in scenes(9, 20, held_out=False))
