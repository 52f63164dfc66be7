"""From an opened file's pixels, of whatever kind, to upright ones of 8 bits, scaled down to what is wanted."""

from __future__ import annotations

import threading

from PIL import Image
from PIL.ImageFile import ImageFile

from sdxl.picture.exif import orientation
from sdxl.picture.png import PngFile
from sdxl.request.fields import MAX_SIDE_PX

Size = tuple[int, int]  # width, height

_ONE_LARGE = threading.Lock()
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {5, 6, 7, 8}


def reduced(picture: ImageFile, max_pixels: int) -> Image.Image:
    """The pixels in 8 bits, scaled down as `read_picture` says; large pictures one at a time, for their memory."""
    size = scaled(picture.size, max_pixels)
    if size == picture.size:
        return in_8_bits(picture)
    with _ONE_LARGE:
        picture.draft(None, size)  # of a JPEG, it decodes an eighth to all of the sides
        return in_8_bits(picture).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def in_8_bits(picture: ImageFile) -> Image.Image:
    """Decode to L, LA, RGB, RGBA or CMYK: what is transparent, in whatever way, has an alpha channel."""
    opacity = picture.opacity_of_16_bits() if isinstance(picture, PngFile) else None
    if opacity is not None:
        picture.putalpha(opacity)
    elif picture.has_transparency_data and picture.getbands()[-1] != "A":
        return picture.convert("LA" if picture.mode in ("1", "L") else "RGBA")
    elif picture.mode in ("1", "P"):
        return picture.convert("L" if picture.mode == "1" else "RGB")
    picture.load()
    return picture


def upright(picture: Image.Image, file: Image.Image) -> Image.Image:
    """Turns a picture as the EXIF of the file that it came from says."""
    method = _TURNS.get(orientation(file.info))
    return picture if method is None else picture.transpose(method)


def flattened(picture: Image.Image, onto: str = "white") -> Image.Image:
    """Return a picture of 8 bits as RGB, its transparency flattened onto a colour."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    background = Image.new("RGBA", picture.size, onto)
    return Image.alpha_composite(background, picture.convert("RGBA")).convert("RGB")


def scaled(size: Size, max_pixels: int) -> Size:
    """The size (width, height) to which `reduced` brings a picture of this size."""
    width, height = size
    factor = min((max_pixels / (width * height)) ** 0.5, MAX_SIDE_PX / max(size))
    if factor >= 1:
        return size
    width, height = (max(8, int(side * factor) // 8 * 8) for side in size)
    return width, height
