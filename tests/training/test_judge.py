"""The judge of the mini checkpoint's pictures is right about drawn scenes, and is not easily pleased."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from training.judge import judge, mottle
from training.scenes import BACKGROUNDS, RELATIONS, SOLIDS, Scene, Solid, draw, random_scene, scenes


def test_drawn_scenes_are_right() -> None:
    rng = random.Random(1)
    drawn = scenes(5, 300, held_out=True) + scenes(6, 100, held_out=False)
    assert np.mean([judge(draw(scene, rng), scene).all_right for scene in drawn]) >= 0.99


def false_twins(scene: Scene) -> list[Scene]:
    """The scene with one thing changed."""
    twins = [replace(scene, solid=Solid(scene.solid.colour, kind)) for kind in SOLIDS if kind != scene.solid.kind]
    twins += [replace(scene, background=name) for name in BACKGROUNDS
              if name not in (scene.background, *(solid.colour for solid in scene.solids))]  # fmt: skip
    if scene.relation:
        twins += [replace(scene, relation=relation) for relation in RELATIONS if relation != scene.relation]
    return twins


def test_a_scene_with_one_thing_changed_is_wrong() -> None:
    rng = random.Random(2)
    for scene in scenes(7, 40, held_out=True):
        picture = draw(scene, rng)
        assert not any(judge(picture, twin).all_right for twin in false_twins(scene))


def test_noise_and_empty_pictures_are_wrong() -> None:
    rng = np.random.default_rng(0)
    for scene in scenes(8, 20, held_out=False):
        assert not judge(rng.integers(0, 256, (128, 128, 3)).astype(np.uint8), scene).all_right
        empty = np.full((128, 128, 3), BACKGROUNDS[scene.background], np.uint8)
        assert judge(empty, scene).background
        assert not judge(empty, scene).all_right


def test_mottle_measures_unevenness() -> None:
    scene = scenes(9, 1, held_out=False)[0]
    picture = draw(scene, random.Random(3))
    noise = np.random.default_rng(0).normal(0, 5, picture.shape)
    noisy = np.clip(picture + noise, 0, 255).astype(np.uint8)
    assert mottle(picture, scene) < 0.5
    assert 4 < mottle(noisy, scene) < 6


def test_no_held_out_combination_is_trained_on() -> None:
    trained = {scene.canonical for scene in scenes(31, 2_000, held_out=False)}
    held_out = {scene.canonical for scene in scenes(1, 500, held_out=True)}
    assert not trained & held_out


def test_a_scene_and_its_inverse_are_the_same_picture() -> None:
    rng = random.Random(4)
    for _ in range(50):
        scene = random_scene(rng)
        assert np.array_equal(draw(scene, random.Random(5)), draw(scene.canonical, random.Random(5)))
