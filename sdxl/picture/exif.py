"""EXIF (directories of fields, as in TIFF): the fields that count here, and no other.

Pillow unpacks all fields at once, and each may refer to the same bytes: 256 KB of EXIF took 2.7 GB.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Any

PREFIX = b"Exif\0\0"
BYTE_ORDERS = {b"MM\0*": ">", b"II*\0": "<"}
ORIENTATION, EXIF_IFD, USER_COMMENT = 0x0112, 0x8769, 0x9286
BYTE, ASCII, SHORT, LONG, UNDEFINED, IFD = 1, 2, 3, 4, 7, 13
SIZES = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4, UNDEFINED: 1, IFD: 4}
# The types that each field may have. UserComment is UNDEFINED, but not for everybody who writes it.
TYPES = {ORIENTATION: (SHORT, LONG), EXIF_IFD: (LONG, IFD), USER_COMMENT: (BYTE, ASCII, UNDEFINED)}
MAX_FIELD_BYTES = 1_000_000

_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([1-8])')


def exif_with(comment: bytes) -> bytes:
    """EXIF of one UserComment. Pillow would give it the type BYTE, on which several readers fail."""
    first, second = 8, 8 + 18  # a directory: how many fields, 12 bytes for each, where the next directory is
    head = PREFIX + struct.pack(">4sI", b"MM\0*", first)
    pointer = struct.pack(">HHHIII", 1, EXIF_IFD, LONG, 1, second, 0)
    return head + pointer + struct.pack(">HHHIII", 1, USER_COMMENT, UNDEFINED, len(comment), second + 18, 0) + comment


def orientation(info: Mapping[Any, Any]) -> int:
    """1 to 8, by what an opened file's `info` has of EXIF, or of XMP; 1, which is upright, if neither says it."""
    said = _number(info, ORIENTATION)
    if said is None and isinstance(xmp := info.get("xmp"), bytes) and (found := _IN_XMP.search(xmp)):
        return int(found[1])
    return 1 if said is None else said


def user_comment(info: Mapping[Any, Any]) -> bytes | None:
    """UserComment as it is stored, in the Exif IFD or, where some write it, in IFD0."""
    at = _number(info, EXIF_IFD)
    inner = None if at is None else _field(info, USER_COMMENT, at)
    return inner or _field(info, USER_COMMENT)


def _number(info: Mapping[Any, Any], tag: int) -> int | None:
    value = _field(info, tag)
    return None if value is None else int.from_bytes(value, "big" if _tiff(info)[1] == ">" else "little")


def _field(info: Mapping[Any, Any], tag: int, at: int | None = None) -> bytes | None:
    """The bytes of a field of the directory at `at`, or of the first one; None if it is not there as it should be."""
    tiff, order = _tiff(info)
    try:
        start: int = struct.unpack_from(order + "I", tiff, 4)[0] if at is None else at
        (count,) = struct.unpack_from(order + "H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            found, kind, number = struct.unpack_from(order + "HHI", tiff, entry)
            if found == tag and kind in TYPES[tag]:
                size = min(number * SIZES[kind], MAX_FIELD_BYTES)
                begin = entry + 8 if size <= 4 else struct.unpack_from(order + "I", tiff, entry + 8)[0]
                return tiff[begin : begin + size]
    except struct.error:  # of a file that is cut off
        pass
    return None


def _tiff(info: Mapping[Any, Any]) -> tuple[bytes, str]:
    """What follows the prefix, and its byte order in `struct`'s signs."""
    exif = info.get("exif")
    tiff = exif.removeprefix(PREFIX) if isinstance(exif, bytes) else b""
    order = BYTE_ORDERS.get(tiff[:4])
    return (b"", ">") if order is None else (tiff, order)
