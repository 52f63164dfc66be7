"""Texts in EXIF's UserComment: written as AUTOMATIC1111 writes them, read as others do too.

Eight bytes say how a comment is encoded (Exif 2.32, 4.6.5), but not in which byte order, and many writers have their
own idea: UTF-8 as ASCII or as UNICODE, a byte order mark, no code at all, the type ASCII or BYTE, IFD0 for the place.
"""

from __future__ import annotations

import re
import struct

from PIL import ExifTags, Image

TAG = ExifTags.Base.UserComment
_CODE_BYTES = 8
_UNDEFINED, _LONG = 7, 4  # types of TIFF's fields
_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_UTF8_MARK = b"\xef\xbb\xbf"
_NO_TEXT = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f-\x9f]")  # cameras put what they like where no code says it is text


def exif_with(text: str) -> bytes:
    """EXIF of one UserComment. Pillow would write it as BYTE, on which several readers fail."""
    comment = b"UNICODE\0" + text.encode("utf-16-be")
    at_first, at_second, after = 8, 8 + 18, 8 + 18 + 18  # of a directory of one field: count, field, next directory
    first = struct.pack(">HHHIII", 1, ExifTags.IFD.Exif, _LONG, 1, at_second, 0)
    second = struct.pack(">HHHIII", 1, TAG, _UNDEFINED, len(comment), after, 0)
    return b"Exif\0\0" + struct.pack(">2sHI", b"MM", 42, at_first) + first + second + comment


def comment_in(picture: Image.Image) -> str | None:
    """The comment of an opened picture; None if there is none that is text."""
    try:
        exif = picture.getexif()
        found = exif.get_ifd(ExifTags.IFD.Exif).get(TAG) or exif.get(TAG)
    except Exception:  # Pillow raises many kinds for broken EXIF, which does not make the picture broken
        return None
    if isinstance(found, str):  # of the type ASCII
        found = found.encode("latin-1", errors="replace")
    return _decoded(found) if isinstance(found, bytes) else None


def _decoded(comment: bytes) -> str | None:
    code, text = comment[:_CODE_BYTES].rstrip(b"\0 ").upper(), comment[_CODE_BYTES:]
    if code == b"JIS":
        return text.decode("iso2022_jp", errors="replace")
    if code in (b"UNICODE", b"ASCII"):
        return _guessed(text, is_wide=code == b"UNICODE")
    guess = _guessed(comment if code else text, is_wide=False).lstrip("\0").partition("\0")[0]
    return None if _NO_TEXT.search(guess) else guess


def _guessed(text: bytes, *, is_wide: bool) -> str:
    """UTF-16 in either byte order, UTF-8 or Latin-1. In UTF-16, a letter of ASCII has a zero in its high byte."""
    order, body = _MARKS.get(text[:2], ""), text.rstrip(b"\0")
    zeros_first, zeros_second = body[::2].count(0), body[1::2].count(0)
    if not order and (is_wide or 4 * max(zeros_first, zeros_second) > len(body)):
        order = "utf-16-le" if zeros_second > zeros_first else "utf-16-be"
    if order and (zeros_first or zeros_second or not _is_utf8(body) or _NO_TEXT.search(body.decode())):
        return (body + b"\0" * (len(body) % 2)).decode(order, errors="replace").removeprefix("\ufeff")
    return body.removeprefix(_UTF8_MARK).decode("utf-8" if _is_utf8(body) else "latin-1")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
