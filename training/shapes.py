"""What each kind of solid covers, and how bright it is there.

Lengths are shares of a solid's size; `foot` is half the depth of what stands on the ground.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.float32]  # [height, width], 0 to 1: how much of each pixel is covered
Point = tuple[float, float]  # x to the right, y down
Layer = tuple[Mask, Mask | float]  # what is covered, and how bright it is there

FOOT = {"cube": 0.22, "sphere": 0.1, "cylinder": 0.14, "cone": 0.15}
WIDTH = {"cube": 1.0, "sphere": 1.0, "cylinder": 0.84, "cone": 1.0}
TOP = {"cube": 0.80, "sphere": 0.93, "cylinder": 0.80, "cone": 0.82}  # where another solid's foot stands


def _polygon(x: Mask, y: Mask, size: float, *corners: Point) -> Mask:
    """A convex polygon, corners clockwise on the screen: the least distance to its edges, in pixels, clipped."""
    edges = zip(corners, corners[1:] + corners[:1], strict=True)
    inside = [
        ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / np.hypot(x2 - x1, y2 - y1) for (x1, y1), (x2, y2) in edges
    ]
    return np.clip(np.minimum.reduce(inside) * size + 0.5, 0, 1)


def _ellipse(x: Mask, y: Mask, size: float, centre: Point, radii: Point) -> Mask:
    u, v = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1]
    r = np.sqrt(u * u + v * v) + 1e-6
    gradient = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2) / r + 1e-6
    return np.clip((1 - r) / gradient * size + 0.5, 0, 1)


def _round_tone(across: Mask) -> Mask:
    """Brightness around a standing round body, from -1 (left edge) to 1: brightest left of the middle."""
    return 0.58 + 0.5 * np.clip(1 - np.abs(np.clip(across, -1, 1) + 0.4) / 1.4, 0, 1)


def _cube(x: Mask, y: Mask, size: float) -> list[Layer]:
    w, e, h = 0.5, FOOT["cube"], 0.58
    left = _polygon(x, y, size, (-w, -e), (-w, -e - h), (0, -h), (0, 0))
    right = _polygon(x, y, size, (0, 0), (0, -h), (w, -e - h), (w, -e))
    top = _polygon(x, y, size, (-w, -e - h), (0, -2 * e - h), (w, -e - h), (0, -h))
    whole = _polygon(x, y, size, (-w, -e), (-w, -e - h), (0, -2 * e - h), (w, -e - h), (w, -e), (0, 0))
    return [(whole, 0.82), (left, 0.86), (right, 0.6), (top, 1.12)]


def _sphere(x: Mask, y: Mask, size: float) -> list[Layer]:
    u, v = x / 0.5, (y + 0.5) / 0.5
    normal = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
    light = np.clip((-0.5 * u - 0.6 * v + 0.62 * normal), 0, 1)
    return [(_ellipse(x, y, size, (0, -0.5), (0.5, 0.5)), 0.5 + 0.66 * light)]


def _cylinder(x: Mask, y: Mask, size: float) -> list[Layer]:
    w, e, h = 0.42, FOOT["cylinder"], 0.66
    foot = _ellipse(x, y, size, (0, -e), (w, e))
    side = _polygon(x, y, size, (-w, -e), (-w, -e - h), (w, -e - h), (w, -e))
    top = _ellipse(x, y, size, (0, -e - h), (w, e))
    return [(np.maximum(foot, side), _round_tone(x / w)), (top, 1.12)]


def _cone(x: Mask, y: Mask, size: float) -> list[Layer]:
    w, e = 0.5, FOOT["cone"]
    foot = _ellipse(x, y, size, (0, -e), (w, e))
    side = _polygon(x, y, size, (-w, -e), (0, -1.05), (w, -e))
    width = np.clip(w * (y + 1.05) / (1.05 - e), 0.02, w)
    return [(np.maximum(foot, side), _round_tone(x / width))]


SHAPES = {"cube": _cube, "sphere": _sphere, "cylinder": _cylinder, "cone": _cone}
