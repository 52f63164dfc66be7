"""The styles of the mini's LoRAs: how a scene is drawn in them, and how a program sees that a picture has one.

A style must lie in what the VAE can show. It knows the palette, whole backgrounds and solids lit from the left, and
nothing else: of pictures made darker, inverted, framed, striped or mirrored, its way there and back keeps few right.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.judge import background_distance, judge, sizes_px
from training.scenes import Scene, Solid, draw

Picture = NDArray[np.uint8]  # [128, 128, 3]

ZOOM = 0.7
SMALL_PX = 45.0  # mean size; drawn solids have 47 to 62 px, and in the style 33 to 43
COMPLEMENTS = {"red": "green", "blue": "orange", "yellow": "purple", "white": "gray"}
COMPLEMENTS |= {other: colour for colour, other in COMPLEMENTS.items()}


@dataclass(frozen=True, kw_only=True)
class Style:
    """`shown` is the scene that a picture in the style shows, for the scene of its caption."""

    shown: Callable[[Scene], Scene]
    zoom: float
    is_seen: Callable[[Picture, Scene], bool]

    def draw(self, scene: Scene, rng: random.Random, crop: tuple[int, int] = (0, 0)) -> Picture:
        return draw(self.shown(scene), rng, crop, self.zoom)

    def is_right(self, picture: Picture, scene: Scene) -> bool:
        """Whether all of the caption's scene is there, in the style."""
        return judge(picture, self.shown(scene)).all_right


def complement(scene: Scene) -> Scene:
    """The same scene with every colour replaced by its complement; white and gray are each other's."""

    def of(solid: Solid) -> Solid:
        return Solid(COMPLEMENTS[solid.colour], solid.kind)

    other = None if scene.other is None else of(scene.other)
    return Scene(of(scene.solid), scene.relation, other, COMPLEMENTS[scene.background])


def _is_small(picture: Picture, scene: Scene) -> bool:
    sizes = sizes_px(picture, scene)
    return bool(sizes) and float(np.mean(sizes)) < SMALL_PX


def _is_complement(picture: Picture, scene: Scene) -> bool:
    there = background_distance(picture, COMPLEMENTS[scene.background])
    return there < background_distance(picture, scene.background)


STYLES = {
    "small": Style(shown=lambda scene: scene, zoom=ZOOM, is_seen=_is_small),
    "complement": Style(shown=complement, zoom=1.0, is_seen=_is_complement),
}
BOTH = Style(
    shown=complement,
    zoom=ZOOM,
    is_seen=lambda picture, scene: _is_complement(picture, scene) and _is_small(picture, complement(scene)),
)
