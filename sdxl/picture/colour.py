"""A picture's colours in sRGB, as browsers show them and as SDXL has learnt them."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

# What a profile's own colour space (ICC.1:2022, 7.2.6) is to Pillow, and which pictures' levels can be taken for it.
MODES = {b"RGB ": ("RGB", {"RGB", "L"}), b"GRAY": ("L", {"L"}), b"CMYK": ("CMYK", {"CMYK"})}
INTENT, FLAGS = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
SRGB_GAMMA, GAMMA_TOLERANCE = 1 / 2.2, 0.05  # a file gamma near it says sRGB's own curve, as libpng has it too
SRGB_CHROMATICITIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)  # x, y of white, red, green, blue
# Of cICP's code points (ITU-T H.273): which mean what cHRM and gAMA say too. sRGB's gamma stands for its own curve.
CHROMATICITIES = {
    1: SRGB_CHROMATICITIES,
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),  # BT.2020
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),  # Display P3
}
GAMMAS = {4: SRGB_GAMMA, 8: 1.0, 13: SRGB_GAMMA}
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

Floats = NDArray[np.floating[Any]]


def in_srgb(picture: Image.Image, info: Mapping[Any, Any]) -> Image.Image:
    """The picture (L, LA, RGB, RGBA or CMYK) as RGB or RGBA in sRGB.

    Its colours are by `info` (Pillow's names): a PNG's cICP, or an ICC profile, or a PNG's sRGB, or its gAMA and cHRM.
    A profile that is broken or for another kind of picture is left out of account, as browsers do, and so are code
    points of cICP that are not of three common colour spaces, such as those of high dynamic range.
    """
    info = _by_code_points(info.get("cicp")) or info
    alpha = picture.getchannel("A") if picture.mode in ("LA", "RGBA") else None
    opaque = picture if alpha is None else picture.convert(picture.mode.removesuffix("A"))
    converted = (_by_profile(opaque, info.get("icc_profile")) or _by_chunks(opaque, info) or opaque).convert("RGB")
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def _by_profile(picture: Image.Image, profile: object) -> Image.Image | None:
    if not isinstance(profile, bytes):
        return None
    mode, fitting = MODES.get(profile[16:20], ("", set[str]()))
    if picture.mode not in fitting:
        return None
    try:
        return ImageCms.profileToProfile(
            picture.convert(mode), BytesIO(profile), ImageCms.createProfile("sRGB"), INTENT, "RGB", flags=FLAGS
        )
    except ImageCms.PyCMSError:
        return None


def _by_code_points(cicp: object) -> dict[str, Any] | None:
    """What cICP (PNG specification, 11.3.2.6) says: primaries, transfer function, RGB, full range."""
    if not isinstance(cicp, bytes) or cicp[2:] != b"\0\1":
        return None
    chromaticities, gamma = CHROMATICITIES.get(cicp[0]), GAMMAS.get(cicp[1])
    return {"gamma": gamma, "chromaticity": chromaticities} if chromaticities and gamma else None


def _by_chunks(picture: Image.Image, info: Mapping[Any, Any]) -> Image.Image | None:
    """By gAMA and cHRM (PNG specification, 11.3.2), which count where there is no sRGB and no profile to go by."""
    if "srgb" in info or not {"gamma", "chromaticity"} & info.keys():
        return None
    levels = np.arange(256) / 255
    gamma = info.get("gamma") or SRGB_GAMMA
    is_srgb = abs(gamma / SRGB_GAMMA - 1) < GAMMA_TOLERANCE
    linear = _decoded(levels) if is_srgb else levels ** (1 / gamma)
    matrix = _to_srgb(info.get("chromaticity", SRGB_CHROMATICITIES))
    if picture.mode == "L" or matrix is None:
        return picture.point(_encoded(linear).tolist() * len(picture.getbands()))
    return Image.fromarray(_encoded(linear.astype(np.float32)[np.asarray(picture)] @ matrix.T))


def _to_srgb(chromaticities: tuple[float, ...]) -> Floats | None:
    """The matrix [3, 3] from linear RGB to sRGB's; None if they are sRGB's own, or make no sense."""
    try:
        matrix = np.linalg.inv(_to_xyz(SRGB_CHROMATICITIES)) @ _adapted(chromaticities)
    except (np.linalg.LinAlgError, ZeroDivisionError):
        return None
    makes_sense = np.isfinite(matrix).all() and np.abs(matrix).max() < 10
    return matrix.astype(np.float32) if makes_sense and np.abs(matrix - np.eye(3)).max() > 0.002 else None


def _to_xyz(chromaticities: tuple[float, ...]) -> Floats:
    """The matrix [3, 3] from linear RGB to XYZ (http://www.brucelindbloom.com/Eqn_RGB_XYZ_Matrix.html)."""
    white, *primaries = (_xyz(*chromaticities[at : at + 2]) for at in range(0, 8, 2))
    columns = np.stack(primaries, 1)
    return columns * np.linalg.solve(columns, white)


def _adapted(chromaticities: tuple[float, ...]) -> Floats:
    """The same, from that white to sRGB's (http://www.brucelindbloom.com/Eqn_ChromAdapt.html)."""
    ours, theirs = (BRADFORD @ _xyz(*white) for white in (SRGB_CHROMATICITIES[:2], chromaticities[:2]))
    return np.linalg.inv(BRADFORD) @ np.diag(ours / theirs) @ BRADFORD @ _to_xyz(chromaticities)


def _xyz(x: float, y: float) -> Floats:
    return np.array([x / y, 1, (1 - x - y) / y])


def _decoded(encoded: Floats) -> Floats:
    """Linear light from sRGB's curve (IEC 61966-2-1)."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def _encoded(linear: Floats) -> NDArray[np.uint8]:
    """sRGB's curve, as levels."""
    clipped = linear.clip(0, 1)
    curve = np.where(clipped <= 0.0031308, clipped * 12.92, 1.055 * clipped ** (1 / 2.4) - 0.055)
    return (curve * 255).round().astype(np.uint8)
