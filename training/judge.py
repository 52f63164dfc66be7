"""Judges pictures by rules on their pixels: is what the caption names really there?

The judge knows the palette and the outlines of the drawn scenes, and nothing of any model. It is checked on
drawn scenes, of which it must find at least 99% right (tests/training/test_judge.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.scenes import BACKGROUNDS, CANVAS_PX, COLOURS, SOLIDS, Scene, Solid
from training.shapes import SHAPES, WIDTH

MIN_SOLID_PX = 350  # the least area of a solid; drawn ones have 900 to 3,000
STRAY_PX = 200  # a larger blot of a colour that was not asked for is a mistake
GRID = 24  # outlines are compared at this size


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is right in one picture. `colours` and `solids` have one entry for each solid of the caption."""

    background: bool
    colours: tuple[bool, ...]
    solids: tuple[bool, ...]
    relation: bool  # true for a single solid that stands alone

    @property
    def all_right(self) -> bool:
        return self.background and all(self.colours) and all(self.solids) and self.relation


def judge(picture: NDArray[np.uint8], scene: Scene) -> Verdict:
    """Compares a picture, uint8 [128, 128, 3], with what the scene says."""
    blots = solid_blots(picture, scene.background)
    wanted = {solid.colour for solid in scene.solids}
    stray = any(blot.sum() > STRAY_PX for colour, blot in blots.items() if colour not in wanted)
    seen = {s: blots[s.colour] for s in scene.solids if blots[s.colour].sum() >= MIN_SOLID_PX}
    kinds = {s: _kind(picture, blot, _others(seen, s)) for s, blot in seen.items()}
    return Verdict(
        background=_background(picture) == scene.background,
        colours=tuple(solid in seen and not stray for solid in scene.solids),
        solids=tuple(kinds.get(solid) == solid.kind for solid in scene.solids),
        relation=not stray and len(seen) == len(scene.solids) and _relation_holds(scene, seen),
    )


def solid_blots(picture: NDArray[np.uint8], background: str) -> dict[str, NDArray[np.bool_]]:
    """For each colour that is not the background's: where its largest solid is, bool [128, 128]."""
    return {colour: _largest(mask) for colour, mask in _solid_masks(picture, background).items()}


def mottle(picture: NDArray[np.uint8], scene: Scene) -> float:
    """How uneven the background is: its RMS distance, in levels, from the best smooth surface through it.

    The surface is quadratic in x and y, fitted for each channel. Left out are the solids with 14 px around
    them, and all that lies less than 40 px above the lowest foot or below it, where shadows fall.
    """
    solids = np.zeros((CANVAS_PX, CANVAS_PX), bool)
    for mask in _solid_masks(picture, scene.background).values():
        solids |= _largest(mask) & (mask.sum() > STRAY_PX)
    free = ~ndimage.binary_dilation(solids, iterations=14)
    lowest = np.flatnonzero(solids.any(1)).max(initial=0)
    free[max(lowest - 40, 0) :] = False
    y, x = np.nonzero(free)
    values = picture[free].astype(np.float64)
    u, v = x / 64 - 1, y / 64 - 1
    basis = np.stack([np.ones_like(u), u, v, u * v, u * u, v * v], 1)
    fit = basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    return float(np.sqrt(np.mean((values - fit) ** 2)))


def sizes_px(picture: NDArray[np.uint8], scene: Scene) -> list[float]:
    """The sizes (training.scenes.Placement), by their widths, of those of the scene's solids that can be seen."""
    masks = _solid_masks(picture, scene.background)
    blots = {solid: _largest(masks[solid.colour]) for solid in scene.solids}
    widths = {solid: np.ptp(np.flatnonzero(blot.any(0))) + 1 for solid, blot in blots.items() if blot.any()}
    return [float(width) / WIDTH[solid.kind] for solid, width in widths.items()]


def background_distance(picture: NDArray[np.uint8], name: str) -> float:
    """How far the median of a frame of 5 px (top, left and right) is from a background's colour.

    In levels of 255, summed over the channels.
    """
    frame = np.concatenate(
        [picture[:5].reshape(-1, 3), picture[5:90, :5].reshape(-1, 3), picture[5:90, -5:].reshape(-1, 3)]
    )
    return float(np.abs(np.median(frame.astype(np.float64), axis=0) - BACKGROUNDS[name]).sum())


def _background(picture: NDArray[np.uint8]) -> str:
    return min(BACKGROUNDS, key=lambda name: background_distance(picture, name))


def _solid_masks(picture: NDArray[np.uint8], background: str) -> dict[str, NDArray[np.bool_]]:
    """For each colour that is not the background's: where it is, by hue, where the picture is vivid enough."""
    rgb = picture.astype(np.float64)
    high, low = rgb.max(2), rgb.min(2)
    vivid = (high - low > 45) & (low < 0.55 * high)
    hue = _hue(rgb)
    names = [*COLOURS]
    distance = np.stack([np.abs((hue - _named_hue(name) + 180) % 360 - 180) for name in names])
    nearest = distance.argmin(0)
    return {name: vivid & (nearest == i) for i, name in enumerate(names) if name != background}


def _hue(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hue in degrees, of the colour circle's projection: atan2(sqrt(3) (g - b), 2 r - g - b)."""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return np.degrees(np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b))


@cache
def _named_hue(name: str) -> float:
    return float(_hue(np.array(COLOURS[name], np.float64)))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected blot, thin lines removed first."""
    labels, count = ndimage.label(ndimage.binary_opening(mask, iterations=2))
    if count == 0:
        return np.zeros_like(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return ndimage.binary_propagation(
        labels == sizes.argmax(), mask=ndimage.binary_dilation(labels == sizes.argmax(), iterations=2) & mask
    )


def _others(seen: dict[Solid, NDArray[np.bool_]], solid: Solid) -> NDArray[np.bool_]:
    hidden = np.zeros((CANVAS_PX, CANVAS_PX), bool)
    for other, blot in seen.items():
        if other != solid:
            hidden |= blot
    return ndimage.binary_dilation(hidden, iterations=2)


def _kind(picture: NDArray[np.uint8], blot: NDArray[np.bool_], hidden: NDArray[np.bool_]) -> str:
    """The kind whose outline and shading, drawn into the blot's box, fit best.

    A solid under another one loses its top: taller boxes are tried too, and what lies under the other one
    is left out of the comparison.
    """
    rows, columns = np.flatnonzero(blot.any(1)), np.flatnonzero(blot.any(0))
    left, right, bottom = columns[0], columns[-1] + 1, rows[-1] + 1
    height = bottom - rows[0]
    errors = {}
    for kind in SOLIDS:
        for taller in (1.0, 1.1, 1.2, 1.3):
            top = round(bottom - taller * height)
            if top < 0 or (taller > 1 and not hidden[top : rows[0], left:right].any()):
                continue
            errors[kind, taller] = _misfit(picture, blot, hidden, kind, (top, bottom, left, right))
    return min(errors, key=lambda key: errors[key])[0]


def _misfit(
    picture: NDArray[np.uint8],
    blot: NDArray[np.bool_],
    hidden: NDArray[np.bool_],
    kind: str,
    box: tuple[int, int, int, int],
) -> float:
    top, bottom, left, right = box
    rows = np.linspace(top, bottom - 1, GRID).round().astype(int)[:, None]
    columns = np.linspace(left, right - 1, GRID).round().astype(int)[None, :]
    seen, known = blot[rows, columns], ~hidden[rows, columns]
    bright = picture[rows, columns].max(2).astype(np.float64)
    outline, tone = _template(kind)
    outside = float(((seen != outline) & known).sum() / max(((seen | outline) & known).sum(), 1))
    both = seen & outline & known
    if both.sum() < 20:
        return 1.0
    shading = np.abs(bright[both] / bright[both].mean() - tone[both] / tone[both].mean()).mean()
    return outside + float(shading)


@cache
def _template(kind: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Outline and brightness of a drawn solid, stretched to [GRID, GRID]."""
    size = 100.0
    y, x = np.mgrid[0:140, 0:140].astype(np.float32) + 0.5
    bright, covered = np.zeros((140, 140)), np.zeros((140, 140))
    for coverage, tone in SHAPES[kind]((x - 70) / size, (y - 125) / size, size):
        bright += coverage * (np.asarray(tone) - bright)
        covered = np.maximum(covered, coverage)
    filled = covered > 0.5
    rows, columns = np.flatnonzero(filled.any(1)), np.flatnonzero(filled.any(0))
    i = np.linspace(rows[0], rows[-1], GRID).round().astype(int)[:, None]
    j = np.linspace(columns[0], columns[-1], GRID).round().astype(int)[None, :]
    return filled[i, j], np.minimum(bright[i, j], 1.0)


def _relation_holds(scene: Scene, seen: dict[Solid, NDArray[np.bool_]]) -> bool:
    if scene.other is None:
        return True
    canonical = scene.canonical
    assert canonical.other is not None
    (ay, ax), (by, bx) = (ndimage.center_of_mass(seen[s]) for s in (canonical.solid, canonical.other))
    if canonical.relation == "on top of":
        return by - ay > 20 and abs(ax - bx) < 16
    return bx - ax > 30 and abs(ay - by) < 20
