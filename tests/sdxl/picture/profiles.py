"""ICC profiles for tests: version 2, by three colorants or a gray, and one gamma (ICC.1:2001-04)."""

from __future__ import annotations

import struct
from collections.abc import Sequence

# XYZ of red, green and blue, as seen under D50.
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
DISPLAY_P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
D50 = (0.9642, 1.0, 0.8249)


def rgb_profile(colorants: Sequence[Sequence[float]], gamma: float) -> bytes:
    tags = [(name + b"XYZ", _xyz(colorant)) for name, colorant in zip((b"r", b"g", b"b"), colorants, strict=True)]
    return _profile(b"RGB ", [*tags, *((name, _curve(gamma)) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def gray_profile(gamma: float) -> bytes:
    return _profile(b"GRAY", [(b"kTRC", _curve(gamma))])


def _profile(space: bytes, own: list[tuple[bytes, bytes]]) -> bytes:
    description = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"x\0" + bytes(78)
    tags = [(b"desc", description), (b"cprt", b"text\0\0\0\0x\0"), (b"wtpt", _xyz(D50)), *own]
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, body in tags:
        table += name + struct.pack(">II", at + len(data), len(body))
        data += body + bytes(-len(body) % 4)
    version, kind = b"\x02\x10\0\0", b"mntr" + space + b"XYZ "
    white = b"".join(map(_fixed, D50))
    header = struct.pack(">I", at + len(data)) + bytes(4) + version + kind + bytes(12) + b"acsp" + bytes(28) + white
    return header + bytes(48) + struct.pack(">I", len(tags)) + table + data


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
