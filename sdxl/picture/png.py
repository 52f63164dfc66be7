"""PNG files by their chunks: Pillow is given those with the pixels, and what the others say is read here.

Pillow refuses a whole picture for a text or a profile of more than 1 MB, of two texts with one name it keeps the last,
it takes UTF-8 in tEXt for Latin-1, and it compares the transparent colour (tRNS) with levels of another depth.
"""

from __future__ import annotations

import zlib
from collections import Counter
from contextlib import suppress
from io import BytesIO
from typing import Any

from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngImageFile

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt"}
# What is read of the others, by its names in Pillow's `info`. exiv2 writes EXIF as "APP1", ImageMagick as "exif".
TEXTS = {b"parameters": "parameters", b"sdxl_relay": "sdxl_relay", b"XML:com.adobe.xmp": "xmp",
         b"Raw profile type exif": "exif", b"Raw profile type APP1": "exif"}  # fmt: skip
OTHERS = {b"cICP": "cicp", b"iCCP": "icc_profile", b"sRGB": "srgb", b"gAMA": "gamma", b"cHRM": "chromaticity",
          b"eXIf": "exif"}  # fmt: skip
MAX_KEY_BYTES, MAX_TRIES = 80, 3  # of a broken one
MAX_CHUNKS = 200_000  # a fifth of a second; encoders write one for some 8 KB, and 20 MB hold 1,700,000 empty ones
MAX_UNPACKED_BYTES = 4_000_000  # of a text or a profile; those of printing presses have 2 MB

_GRAY_SCALE = {"L;2": 255 // 3, "L;4": 255 // 15}
_LOW_BYTES = {"L;16B": "L;16", "RGB;16B": "RGB;16L"}  # of samples of 16 bits; Pillow decodes one byte at a time


class PngFile(PngImageFile):
    """Pillow's reader for the pixels. `info` has what the rest of the file says, also what comes after the pixels."""

    def _open(self) -> None:
        assert self.fp is not None
        self._pixels, said = split(self.fp.read())
        self.fp = BytesIO(self._pixels)
        super()._open()
        self.info.update(said)
        if self.mode == "I;16":
            self._mode, self.tile = "L", [tile._replace(args="L;16B") for tile in self.tile]
        self._raw_mode = str(self.tile[0].args) if self.tile else ""
        if (scale := _GRAY_SCALE.get(self._raw_mode)) and "transparency" in self.info:
            self.info["transparency"] = self.info["transparency"] * scale & 255

    def opacity_of_16_bits(self) -> Image.Image | None:
        """Mode L: 0 where the transparent colour is, 255 elsewhere. None if there is none, or the depth is not 16."""
        key = self.info.get("transparency")
        if key is None or self._raw_mode not in _LOW_BYTES:
            return None
        low = PngFile(BytesIO(self._pixels))
        low.tile = [tile._replace(args=_LOW_BYTES[self._raw_mode]) for tile in low.tile]
        differs = Image.new("L", self.size)
        for band, level in enumerate(key if isinstance(key, tuple) else (key,)):
            for picture, byte in ((self, level >> 8), (low, level & 255)):
                others = [255 * (found != byte) for found in range(256)]
                differs = ImageChops.lighter(differs, picture.getchannel(band).point(others))
        return differs


def split(data: bytes) -> tuple[bytes, dict[str, Any]]:
    """A PNG with nothing but its pixels, and what else it says, each by its first chunk that is whole.

    What is broken beside the pixels is left out, and what is broken in them is left to Pillow. Raises SyntaxError
    for very many chunks.
    """
    pixels, said, tries = [SIGNATURE], dict[str, Any](), Counter[str]()
    at, chunks = len(SIGNATURE), 0
    while at < len(data):
        if (chunks := chunks + 1) > MAX_CHUNKS:
            raise SyntaxError(f"more than {MAX_CHUNKS} chunks")  # as Pillow says what is wrong with a file
        end = at + 12 + int.from_bytes(data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : end - 4]
        if kind in PIXELS or end > len(data):
            pixels.append(data[at:end])
        elif (name := _name(kind, body)) and name not in said and tries[name] < MAX_TRIES:
            tries[name] += 1
            with suppress(ValueError, IndexError, zlib.error):
                said[name] = _text(name, kind, body) if kind in TEXT_CHUNKS else _value(kind, body)
        at = end
    return b"".join(pixels), said


def _name(kind: bytes, body: bytes) -> str | None:
    if kind in TEXT_CHUNKS:
        return TEXTS.get(body[:MAX_KEY_BYTES].split(b"\0", 1)[0])
    return OTHERS.get(kind)


def _value(kind: bytes, body: bytes) -> Any:
    match kind:
        case b"iCCP":
            return _unpacked(body.split(b"\0", 1)[1][1:])
        case b"sRGB":
            return body[0]
        case b"gAMA":
            return int.from_bytes(body[:4]) / 100_000
        case b"cHRM":
            return tuple(int.from_bytes(body[at : at + 4]) / 100_000 for at in range(0, 32, 4))
    return body


def _text(name: str, kind: bytes, body: bytes) -> str | bytes:
    _key, text = body.split(b"\0", 1)
    if kind == b"zTXt":
        text = _unpacked(text[1:])
    elif kind == b"iTXt":
        is_packed, (_language, _translated, text) = text[0], text[2:].split(b"\0", 2)
        text = _unpacked(text) if is_packed else text
    if name == "exif":  # after three lines, in hexadecimal
        return bytes.fromhex(text.decode("ascii").split("\n", 3)[3])
    if name == "xmp":
        return text
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _unpacked(body: bytes) -> bytes:
    """What would unpack to more is cut off."""
    return zlib.decompressobj().decompress(body, MAX_UNPACKED_BYTES)
