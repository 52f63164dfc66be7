"""What is written into a picture's file about its making, and read from files that nobody vouches for.

PNG has a text chunk for AUTOMATIC1111's text and one for the record; JPEG and WebP have the text in EXIF's UserComment,
as AUTOMATIC1111 writes it, and the record in XMP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self
from xml.sax.saxutils import escape, unescape

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from sdxl.picture.parameters import parameters_text
from sdxl.picture.record import AnyRecord, as_json, from_json
from sdxl.request.fields import OutputFormat

TEXT_KEY, RECORD_KEY = "parameters", "sdxl_relay"
MAX_TEXT_CHARACTERS = 100_000
"""Of a text that is read; AUTOMATIC1111's prompts have no limit."""

_UNICODE = b"UNICODE\x00"  # what EXIF has before a comment in UTF-16
_XMP_BEFORE = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description rdf:about="" xmlns:{RECORD_KEY}="urn:sdxl-relay:">'
)
_XMP_AFTER = '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
_OPEN, _CLOSE = f"<{RECORD_KEY}:record>", f"</{RECORD_KEY}:record>"


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
        text = text if text is not None else _user_comment(picture)
        record = record if record is not None else _record_in_xmp(picture)
        return cls(
            parameters=None if text is None else text[:MAX_TEXT_CHARACTERS],
            record=None if record is None else from_json(record),
        )

    def as_options(self, output_format: OutputFormat) -> dict[str, Any]:
        """Pillow's options for saving with these. JPEG has room for 64 KB of each, and a request cannot fill that."""
        text, record = self.parameters or "", as_json(self.record) if self.record else ""
        if output_format == "png":
            chunks = PngInfo()
            chunks.add_text(TEXT_KEY, text)
            chunks.add_text(RECORD_KEY, record)
            return {"pnginfo": chunks}
        exif = Image.Exif()
        exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _UNICODE + text.encode("utf-16-be")
        xmp = f"{_XMP_BEFORE}{_OPEN}{escape(record)}{_CLOSE}{_XMP_AFTER}"
        return {"exif": exif.tobytes(), "xmp": xmp.encode()}


def _text_chunk(picture: Image.Image, key: str) -> str | None:
    """A PNG's text; in other formats `info` may hold anything under this key."""
    found = picture.info.get(key)
    return str(found) if isinstance(found, str) else None


def _user_comment(picture: Image.Image) -> str | None:
    try:
        comment = picture.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    except Exception:  # Pillow raises many kinds for broken EXIF, which does not make the picture broken
        return None
    if not isinstance(comment, bytes):
        return None
    if comment.startswith(_UNICODE):
        return comment.removeprefix(_UNICODE).decode("utf-16-be", errors="replace")
    return comment.removeprefix(b"ASCII\x00\x00\x00").decode(errors="replace")


def _record_in_xmp(picture: Image.Image) -> str | None:
    """Looks for our own element as text: what nobody vouches for is not given to an XML parser."""
    packet = picture.info.get("xmp")
    if not isinstance(packet, bytes):
        return None
    _, opened, rest = packet.partition(_OPEN.encode())
    record, closed, _ = rest.partition(_CLOSE.encode())
    return unescape(record.decode(errors="replace")) if opened and closed else None
