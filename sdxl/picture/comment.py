"""Texts in EXIF's UserComment: written as AUTOMATIC1111 writes them, read as others do too.

Eight bytes say how a comment is encoded (Exif 2.32, 4.6.5), but not in which byte order, and many writers have their
own idea: UTF-8 as ASCII or as UNICODE, a byte order mark, no code at all.
"""

from __future__ import annotations

import re

UNICODE = b"UNICODE\0"
_CODE_BYTES = len(UNICODE)
_MARKS = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_UTF8_MARK = b"\xef\xbb\xbf"
_CODES = (b"JIS", b"UNICODE", b"ASCII")
_FILL = b"\0\xff "
_NO_TEXT = re.compile("[\x01-\x08\x0b\x0e-\x1f\x7f-\x9f]")  # cameras put what they like where no code says it is text


def as_comment(text: str) -> bytes:
    """A text as the value of UserComment."""
    return UNICODE + text.encode("utf-16-be")


def text_of(comment: bytes) -> str | None:
    """The text of a comment; None if it is none."""
    code, text = comment[:_CODE_BYTES].rstrip(b"\0 ").upper(), comment[_CODE_BYTES:]
    if not (text if code in _CODES else comment).strip(_FILL):
        return None
    if code == b"JIS":
        return text.decode("iso2022_jp", errors="replace")
    if code in _CODES:
        return _guessed(text, is_wide=code == b"UNICODE")
    guess = _guessed(comment if code else text, is_wide=False).lstrip("\0").partition("\0")[0]
    return None if _NO_TEXT.search(guess) else guess


def _guessed(text: bytes, *, is_wide: bool) -> str:
    """UTF-16 in either byte order, UTF-8 or Latin-1.

    In UTF-16, a letter of ASCII has a zero in its high byte, and the letters of any script have fewer high bytes than
    low ones. Zeros alone tell too little: the Chinese for "one", U+4E00, has one in its low byte.
    """
    order, body = _MARKS.get(text[:2], ""), text.rstrip(b"\0")
    if not order and (is_wide or 4 * max(body[::2].count(0), body[1::2].count(0)) > len(body)):
        high = {"utf-16-be": body[::2], "utf-16-le": body[1::2]}
        order = min(high, key=lambda each: (len(set(high[each])) or 1, -high[each].count(0)))
    if order and (0 in body or not _is_utf8(body) or _NO_TEXT.search(body.decode())):
        return (body + b"\0" * (len(body) % 2)).decode(order, errors="replace").removeprefix("\ufeff")
    return body.removeprefix(_UTF8_MARK).decode("utf-8" if _is_utf8(body) else "latin-1")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
