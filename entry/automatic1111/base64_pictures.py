"""Pictures as AUTOMATIC1111's clients write them into JSON."""

from __future__ import annotations

import base64
import binascii
import re

from sdxl.errors import invalid_field

ALLOWED = "a PNG, JPEG or WebP file in base64, or as a data: URL; this server fetches nothing"
_DATA_URL = re.compile(r"data:[^,]{0,100};base64,")


def as_base64(data: bytes) -> str:
    """A file for an answer."""
    return base64.b64encode(data).decode("ascii")


def file_of(text: str, field: str) -> bytes:
    """The file that a text is. Raises RelayError (400) with the field's name for one that is none."""
    begin = _DATA_URL.match(text)
    encoded = "".join(text[begin.end() if begin else 0 :].split())
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data:
        raise invalid_field(field, text, ALLOWED)
    return data
