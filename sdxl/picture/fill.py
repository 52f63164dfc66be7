"""What is masked, painted over with the colours around it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[Any]  # [height, width, channels], float32


def filled(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """A picture (RGB) whose colours go on smoothly where the mask (mode L, of the same size) is white.

    By a pyramid, as in Gortler et al., "The Lumigraph" (1996), section 3.4: on the way down, each level has half of the
    sides and the means of what is known; on the way up, what is not known comes from the coarser level. A picture of
    which nothing is known is black.
    """
    weight: Plane = 1 - np.asarray(mask, np.float32)[..., None] / 255
    levels: list[tuple[Plane, Plane]] = [(np.asarray(picture, np.float32) * weight, weight)]
    while max(levels[-1][1].shape) > 1:
        levels.append(_halved(*levels[-1]))
    premultiplied, weight = levels[-1]
    colour: Plane = premultiplied / np.maximum(weight, np.finfo(np.float32).tiny)
    for premultiplied, weight in reversed(levels[:-1]):
        colour = premultiplied + (1 - weight) * _stretched(colour, (weight.shape[1], weight.shape[0]))
    return Image.fromarray(colour.round().clip(0, 255).astype(np.uint8))


def _halved(premultiplied: Plane, weight: Plane) -> tuple[Plane, Plane]:
    """Four pixels become one, which is known as well as all four of them together, at most wholly."""
    colours, weights = _sums_of_four(premultiplied), _sums_of_four(weight)
    return colours / np.maximum(weights, 1), np.minimum(weights, 1)


def _sums_of_four(plane: Plane) -> Plane:
    height, width, _ = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2), (0, 0)))
    return even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]


def _stretched(plane: Plane, size: tuple[int, int]) -> Plane:
    """To (width, height), with soft transitions."""
    channels = [Image.fromarray(np.ascontiguousarray(plane[..., channel])) for channel in range(plane.shape[2])]
    return np.stack([np.asarray(each.resize(size, Image.Resampling.BILINEAR)) for each in channels], axis=-1)
