"""The scenes that the mini checkpoint learns: what they hold, their captions, how they are drawn.

A scene is one solid, or two solids in a relation, on a plain background. It is drawn from above at a
slant, lit from the upper left, with anti-aliased edges and a soft shadow; the places vary by a few pixels.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.shapes import FOOT, SHAPES, TOP

Image = NDArray[np.float32]  # [height, width, 3], 0 to 255

CANVAS_PX = 128
SOLIDS = ("cube", "sphere", "cylinder", "cone")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 42, 42),
    "green": (38, 168, 62),
    "blue": (44, 88, 222),
    "yellow": (244, 208, 32),
    "purple": (142, 58, 190),
    "orange": (244, 130, 24),
}
NEUTRALS: dict[str, tuple[int, int, int]] = {"white": (240, 240, 240), "gray": (140, 140, 140)}
# Backgrounds are paler than solids of the same name, so that a shadow stays visible on them.
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    **{
        name: (r + (255 - r) * 2 // 5, g + (255 - g) * 2 // 5, b + (255 - b) * 2 // 5)
        for name, (r, g, b) in COLOURS.items()
    },
    **NEUTRALS,
}
RELATIONS = ("on top of", "under", "left of", "right of")
INVERSE = {"on top of": "under", "under": "on top of", "left of": "right of", "right of": "left of"}
SYNONYMS = {
    "on top of": ("on top of", "on", "above"),
    "under": ("under", "below", "beneath"),
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
}
HELD_OUT_SHARE = 0.1
ZOOM_CENTRE = (64.0, 96.0)  # (x, y) px


@dataclass(frozen=True)
class Solid:
    colour: str
    kind: str

    def __str__(self) -> str:
        return f"{self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """What a picture shows. `relation` and `other` are None together: a single solid."""

    solid: Solid
    relation: str | None
    other: Solid | None
    background: str

    @property
    def solids(self) -> tuple[Solid, ...]:
        return (self.solid,) if self.other is None else (self.solid, self.other)

    @property
    def canonical(self) -> Scene:
        """The same picture said with "on top of" or "left of", so that a twin in other words counts as one."""
        if self.other is None or self.relation in ("on top of", "left of"):
            return self
        assert self.relation is not None
        return Scene(self.other, INVERSE[self.relation], self.solid, self.background)

    @property
    def is_held_out(self) -> bool:
        """Whether this combination is kept from all training.

        Two solids and their relation are held out on every background, a single solid on one background.
        """
        scene = self.canonical
        key = f"{scene.solid} {scene.relation} {scene.other}"
        if scene.other is None:
            key = f"{scene.solid}, {scene.background}"
        return int(hashlib.sha256(key.encode()).hexdigest(), 16) % 1000 < 1000 * HELD_OUT_SHARE

    @property
    def caption(self) -> str:
        """The plain wording: "a red cube on top of a blue sphere, yellow background"."""
        return f"{self._subject(self.relation, article='a ')}, {self.background} background"

    def wording(self, rng: random.Random) -> str:
        """One of many wordings of the caption; one in twelve leaves the background unsaid."""
        relation = rng.choice(SYNONYMS[self.relation]) if self.relation else None
        subject = self._subject(relation, article=rng.choice(("a ", "a ", "the ", "")))
        subject = rng.choice(("", "", "", "a picture of ", "a render of ", "a photo of ")) + subject
        background = f"{self.background} background"
        form = rng.choice(
            ("{}, {}",) * 6
            + (
                "{} with a {}",
                "{} in front of a {}",
                "{} on a {}",
                "{}, {}, soft light",
                "{}, {}, high quality",
                "{}",
            )
        )
        return form.format(subject, background)

    def _subject(self, relation: str | None, article: str) -> str:
        first = _with_article(self.solid, article)
        return first if self.other is None else f"{first} {relation} {_with_article(self.other, article)}"


def _with_article(solid: Solid, article: str) -> str:
    return f"an {solid}" if article == "a " and solid.colour == "orange" else f"{article}{solid}"


@dataclass(frozen=True)
class Placement:
    """Where a solid stands: the front point of its foot, and its size, in pixels."""

    x: float
    y: float
    size: float


def random_scene(rng: random.Random, single_share: float = 0.15) -> Scene:
    """A scene in which no two of the solids and the background have the same colour."""
    first, second = rng.sample(sorted(COLOURS), 2)
    free = [name for name in BACKGROUNDS if name not in (first, second)]
    solid = Solid(first, rng.choice(SOLIDS))
    if rng.random() < single_share:
        return Scene(solid, None, None, rng.choice([*free, second]))
    return Scene(solid, rng.choice(RELATIONS), Solid(second, rng.choice(SOLIDS)), rng.choice(free))


def scenes(seed: int, count: int, held_out: bool) -> list[Scene]:
    """`count` random scenes, all of them held out from training, or none."""
    rng = random.Random(seed)
    found: list[Scene] = []
    while len(found) < count:
        scene = random_scene(rng)
        if scene.is_held_out == held_out:
            found.append(scene)
    return found


_Y, _X = np.mgrid[0:CANVAS_PX, 0:CANVAS_PX].astype(np.float32) + 0.5


def draw(scene: Scene, rng: random.Random, crop: tuple[int, int] = (0, 0), zoom: float = 1.0) -> NDArray[np.uint8]:
    """The picture of a scene, uint8 [128, 128, 3].

    `zoom` brings the solids nearer (over 1) or takes them away; `crop` (top, left), in pixels, then moves
    everything up and to the left.
    """
    image = _background(scene.background, rng)
    placed = [_zoomed(p, zoom) for p in place(scene, rng)]
    standing = [replace(p, x=p.x - crop[1], y=p.y - crop[0]) for p in placed]
    pairs = list(zip(scene.canonical.solids, standing, strict=True))
    stacked = scene.canonical.relation == "on top of"
    for solid, p in pairs[1:] if stacked else pairs:
        image = _shadow(image, solid, p)
    for solid, p in reversed(pairs):
        image = draw_solid(image, solid.kind, np.array(COLOURS[solid.colour], np.float32), p)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def place(scene: Scene, rng: random.Random) -> list[Placement]:
    """Where the solids of `scene.canonical` stand."""
    scene = scene.canonical
    if scene.other is None:
        return [Placement(64 + rng.uniform(-3, 3), 98 + rng.uniform(-3, 3), rng.uniform(54, 62))]
    if scene.relation == "left of":
        return [Placement(x + rng.uniform(-2, 2), 92 + rng.uniform(-2, 2), rng.uniform(47, 53)) for x in (34, 94)]
    lower = Placement(64 + rng.uniform(-2, 2), 114 + rng.uniform(-2, 2), rng.uniform(49, 54))
    size = rng.uniform(47, 52)
    above = TOP[scene.other.kind] * lower.size - FOOT[scene.solid.kind] * size
    return [Placement(lower.x + rng.uniform(-2, 2), lower.y - above, size), lower]


def _zoomed(p: Placement, zoom: float) -> Placement:
    """About a point on the ground in the middle of the picture."""
    x, y = ZOOM_CENTRE
    return Placement(x + zoom * (p.x - x), y + zoom * (p.y - y), zoom * p.size)


class _Middle(random.Random):
    """No chance: the middle of every range."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def layout(scene: Scene, cells: int = 16) -> NDArray[np.int64]:
    """Which solid fills each cell, [cells, cells]: 0 for none, else 1 + 4 * colour + kind (by their order here)."""
    result = np.zeros((cells, cells), np.int64)
    cell_px = CANVAS_PX // cells
    for solid, p in reversed(list(zip(scene.canonical.solids, place(scene, _Middle()), strict=True))):
        x, y = (_X - p.x) / p.size, (_Y - p.y) / p.size
        covered = np.maximum.reduce([coverage for coverage, _ in SHAPES[solid.kind](x, y, p.size)])
        filled = covered.reshape(cells, cell_px, cells, cell_px).mean((1, 3)) > 0.5
        result[filled] = 1 + len(SOLIDS) * list(COLOURS).index(solid.colour) + SOLIDS.index(solid.kind)
    return result


def _background(name: str, rng: random.Random) -> Image:
    """A vertical gradient around the background's colour."""
    slope = np.linspace(1.05, 0.93, CANVAS_PX, dtype=np.float32) * rng.uniform(0.98, 1.02)
    colour = np.array(BACKGROUNDS[name], np.float32)
    return np.broadcast_to(slope[:, None, None] * colour, (CANVAS_PX, CANVAS_PX, 3)).copy()


def _shadow(image: Image, solid: Solid, p: Placement) -> Image:
    foot = max(FOOT[solid.kind], 0.14)
    x, y = (_X - p.x - 0.16 * p.size) / (0.62 * p.size), (_Y - p.y + foot * p.size) / (1.5 * foot * p.size)
    depth = 0.42 * np.clip(1.15 - np.sqrt(x * x + y * y), 0, 1) ** 1.3
    return image * (1 - depth[..., None])


def draw_solid(image: Image, kind: str, colour: NDArray[np.float32], p: Placement) -> Image:
    for coverage, tone in SHAPES[kind]((_X - p.x) / p.size, (_Y - p.y) / p.size, p.size):
        paint = np.clip(np.asarray(tone)[..., None] * colour, 0, 255)
        image = image + coverage[..., None] * (paint - image)
    return image
