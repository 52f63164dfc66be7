"""JPEG files before Pillow goes through their segments, one by one and for seconds if there are millions."""

from __future__ import annotations

from PIL.JpegImagePlugin import MARKER, JpegImageFile

MAX_SEGMENTS = 100_000  # with each byte between them; a fifth of a second. Cameras write some tens of them
_SCAN, _PADDING = 0xDA, (0x00, 0xFF)


class JpegFile(JpegImageFile):
    """Pillow's reader, which looks into EXIF no further than we do. `scans` is how often its pixels are coded."""

    def _open(self) -> None:
        assert self.fp is not None
        data = self.fp.read()
        self.scans = data.count(bytes((0xFF, _SCAN)), first_scan(data))
        self.fp.seek(0)
        super()._open()

    def _read_dpi_from_exif(self) -> None:
        """Pillow would unpack every field, each of which may refer to all bytes of the file."""


def first_scan(data: bytes) -> int:
    """Where the segments end, in which there may be whole other pictures. Raises SyntaxError for very many."""
    at, steps = 2, 0
    while at + 1 < len(data):
        if (steps := steps + 1) > MAX_SEGMENTS:
            raise SyntaxError(f"more than {MAX_SEGMENTS} segments")  # as Pillow says what is wrong with a file
        marker = data[at + 1]
        if data[at] != 0xFF or marker in _PADDING:
            at += 1
        elif marker == _SCAN:
            return at
        else:
            _, _, has_body = MARKER.get(0xFF00 + marker, ("", "", None))
            at += 2 + (int.from_bytes(data[at + 2 : at + 4]) if has_body else 0)
    return at
