"""What is written into a picture's file about its making, and read from files that nobody vouches for.

PNG has a text chunk for AUTOMATIC1111's text and one for the record; JPEG and WebP have the text in EXIF's UserComment,
as AUTOMATIC1111 writes it, and the record in XMP.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sdxl.picture.comment import as_comment, text_of
from sdxl.picture.exif import exif_with, user_comment
from sdxl.picture.parameters import parameters_text
from sdxl.picture.record import AnyRecord, as_json, from_json
from sdxl.request.fields import OutputFormat

TEXT_KEY, RECORD_KEY = "parameters", "sdxl_relay"
MAX_TEXT_CHARACTERS = 100_000
"""Of a text that is read; AUTOMATIC1111's prompts have no limit."""

NAMESPACE = "urn:sdxl-relay:xmp/"  # it ends in a slash, for exiv2 knows no other
MAX_XMP_BYTES = 1_000_000

_XMP_BEFORE = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description rdf:about="" xmlns:{RECORD_KEY}="{NAMESPACE}"><{RECORD_KEY}:record>'
)
_XMP_AFTER = f'</{RECORD_KEY}:record></rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
_RECORD_NAME = re.compile(r"\{urn:sdxl-relay:.*\}record")  # pictures of older versions have no path in the namespace


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """AUTOMATIC1111's text, and our own record; None for what a picture does not have."""

    parameters: str | None
    record: AnyRecord | None

    @classmethod
    def of(cls, record: AnyRecord) -> Self:
        """Both, from the record of a picture just made."""
        return cls(parameters=parameters_text(record), record=record)

    @classmethod
    def read(cls, picture: Image.Image) -> Self:
        """What an opened picture has, wherever in its file. Raises only what Pillow does for a broken file."""
        text, record = _text_chunk(picture, TEXT_KEY), _text_chunk(picture, RECORD_KEY)
        if text is None and (comment := user_comment(picture.info)) is not None:
            text = text_of(comment)
        record = record if record is not None else _record_in_xmp(picture)
        return cls(
            parameters=None if text is None else _as_lines(text[:MAX_TEXT_CHARACTERS]),
            record=None if record is None else from_json(record),
        )

    def as_options(self, output_format: OutputFormat) -> dict[str, Any]:
        """Pillow's options for saving with these. JPEG has room for 64 KB of each, and a request cannot fill that."""
        text, record = self.parameters or "", as_json(self.record) if self.record else ""
        if output_format == "png":
            chunks = PngInfo()
            for key, value in ((TEXT_KEY, text), (RECORD_KEY, record)):
                add = chunks.add_text if value.isascii() else chunks.add_itxt  # UTF-8, where tEXt would be Latin-1
                add(key, value)
            return {"pnginfo": chunks}
        return {"exif": exif_with(as_comment(text)), "xmp": f"{_XMP_BEFORE}{escape(record)}{_XMP_AFTER}".encode()}


def _text_chunk(picture: Image.Image, key: str) -> str | None:
    """A PNG's text; in other formats `info` may hold anything under this key."""
    found = picture.info.get(key)
    return str(found) if isinstance(found, str) else None


def _as_lines(text: str) -> str | None:
    """The text up to a zero, in lines; None if it is blank."""
    lines = text.lstrip("\0").partition("\0")[0].replace("\r\n", "\n").replace("\r", "\n")
    return lines if lines.strip() else None


def _record_in_xmp(picture: Image.Image) -> str | None:
    """As an element or as an attribute, under any prefix: exiv2 writes it in its own way."""
    packet = picture.info.get("xmp")
    if not isinstance(packet, bytes) or len(packet) > MAX_XMP_BYTES:
        return None
    try:
        text = packet.decode().strip("\0 \r\n")
        if "<!DOCTYPE" in text:  # without one there are no entities: nothing can grow, or name another file
            return None
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError):  # ValueError: of a packet that is not UTF-8
        return None
    for element in root.iter():
        for name, value in ((element.tag, element.text), *element.items()):
            if value and _RECORD_NAME.fullmatch(name):
                return value
    return None
