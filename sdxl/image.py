"""Pictures: encoded and watermarked for the client, and read from uploads that nobody vouches for.

The entry service calls this in threads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from imwatermark import WatermarkEncoder
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageFilter, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sdxl.request import OutputFormat

MEDIA_TYPES: dict[OutputFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}

WATERMARK_BITS = [int(bit) for bit in "101100111110110010010000011110111011000110011110"]  # diffusers' own
WATERMARK_MIN_WIDTH_PX = 256  # diffusers leaves narrower pictures as they are
WATERMARK_MIN_PIXELS = 256 * 256  # invisible-watermark refuses smaller ones

MaskConvention = Literal["white", "transparent"]

# Latents are repainted in blocks of 8 x 8 pixels, so what is new goes on past the mask's edge by up to 7.
FADE_PX = 8

MAX_JPEG_SCANS = 100  # encoders write about ten; a scan of 16 bytes can cost a decoder milliseconds


class PictureError(ValueError):
    """An upload is not a picture that can be used."""


class UnsupportedPictureError(PictureError):
    """The upload is not a PNG, JPEG or WebP file."""


class PictureTooLargeError(PictureError):
    """The upload has too many bytes, or declares too many pixels."""


class BrokenPictureError(PictureError):
    """The upload begins as a picture, but cannot be decoded to its end."""


@dataclass(frozen=True, kw_only=True)
class EncodedPicture:
    """A picture as the client gets it."""

    data: bytes
    media_type: str
    watermarked: bool


def encode_picture(
    pixels: NDArray[np.uint8], *, output_format: OutputFormat, quality: int, watermark: bool
) -> EncodedPicture:
    """Encode `pixels` [height, width, 3], RGB, uint8.

    `quality` (1 to 100) is for JPEG and WebP; PNG is without loss. With `watermark`, the picture carries
    :data:`WATERMARK_BITS`, unless it is too small for them. They can be read from a PNG or JPEG picture of
    1024 x 1024; some are lost in smaller ones, and most in a WebP picture of a quality under 95.
    """
    height_px, width_px, _ = pixels.shape
    marks = watermark and width_px >= WATERMARK_MIN_WIDTH_PX and height_px * width_px >= WATERMARK_MIN_PIXELS
    picture = Image.fromarray(_with_watermark(pixels) if marks else pixels)
    options: dict[OutputFormat, dict[str, int | str]] = {
        "png": {"compress_level": 1},  # less than half of the default's time, 15% more bytes
        "jpeg": {"quality": quality, "subsampling": "4:4:4"},  # coarser colours would wipe out the watermark
        "webp": {"quality": quality},
    }
    buffer = BytesIO()
    picture.save(buffer, output_format, **options[output_format])
    return EncodedPicture(data=buffer.getvalue(), media_type=MEDIA_TYPES[output_format], watermarked=marks)


def encode_preview(pixels: NDArray[np.uint8], *, size_px: tuple[int, int], output_format: OutputFormat) -> bytes:
    """A preview [height/8, width/8, 3], uint8, as a file of `size_px` (width, height): small rather than exact."""
    buffer = BytesIO()
    Image.fromarray(pixels).resize(size_px, Image.Resampling.BICUBIC).save(buffer, output_format)
    return buffer.getvalue()


def read_picture(upload: bytes | Path, *, max_bytes: int, max_pixels: int) -> Image.Image:
    """Decode an upload to an RGB picture: upright, its first frame, transparency flattened onto white.

    Raises UnsupportedPictureError, PictureTooLargeError or BrokenPictureError. The number of pixels is
    checked before any is decoded.
    """
    return _read(upload, _flattened, max_bytes=max_bytes, max_pixels=max_pixels)


def read_mask(upload: bytes | Path, *, repaint: MaskConvention, max_bytes: int, max_pixels: int) -> Image.Image:
    """Decode an upload to a mask of mode L: 255 where the picture is to be repainted, 0 where it is kept.

    `repaint` says what the file marks so: "white" (diffusers; transparency counts as black) or "transparent"
    (OpenAI; colours are ignored, unless nothing is transparent, for then it is white that counts). Raises what
    :func:`read_picture` raises.
    """
    convert = _whiteness if repaint == "white" else _transparency
    return _read(upload, convert, max_bytes=max_bytes, max_pixels=max_pixels)


def _read(
    upload: bytes | Path, convert: Callable[[Image.Image], Image.Image], *, max_bytes: int, max_pixels: int
) -> Image.Image:
    size_bytes = upload.stat().st_size if isinstance(upload, Path) else len(upload)
    if size_bytes > max_bytes:
        raise PictureTooLargeError(f"picture of {size_bytes} bytes, allowed are {max_bytes}")
    data = upload.read_bytes() if isinstance(upload, Path) else upload
    reader = _reader_for(data)
    try:
        picture = reader(BytesIO(data))
        _check_pixels(picture, max_pixels)
        return convert(ImageOps.exif_transpose(picture))
    except PictureError:
        raise
    except Exception as error:  # for broken data Pillow raises a dozen kinds, from SyntaxError to zlib.error
        raise BrokenPictureError(f"broken or truncated {reader.format} picture: {error!s:.200}") from None


def _reader_for(data: bytes) -> type[ImageFile]:
    """Return Pillow's reader for `data`.

    Image.open would do, but for its decompression bomb warning, which can only be silenced globally.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImageFile
    if data.startswith(b"\xff\xd8\xff"):
        scans = data.count(b"\xff\xda")
        if scans > MAX_JPEG_SCANS:
            raise BrokenPictureError(f"JPEG picture of {scans} scans, allowed are {MAX_JPEG_SCANS}")
        return JpegImageFile
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile
    raise UnsupportedPictureError(f"file that begins with {data[:12]!r}, allowed are PNG, JPEG and WebP")


def _check_pixels(picture: Image.Image, max_pixels: int) -> None:
    if (pixels := picture.width * picture.height) > max_pixels:
        size = f"{picture.width} x {picture.height} = {pixels} pixels"
        raise PictureTooLargeError(f"picture of {size}, allowed are {max_pixels}")


def paste_original(edited: Image.Image, original: Image.Image, mask: Image.Image) -> Image.Image:
    """Put the original's pixels over what `edited`, of the original's size or less, should have kept.

    Where the mask (mode L) is 0, they fade in over some :data:`FADE_PX` pixels from its edge: cut off there, what
    is new would show the edge. From mid-gray on, where latents are repainted, nothing of them is left.
    """
    original, mask = (image.resize(edited.size, Image.Resampling.LANCZOS) for image in (original, mask))
    blurred = mask.filter(ImageFilter.GaussianBlur(FADE_PX / 2))  # half its white at the edge, none at FADE_PX
    doubled = ImageChops.add(blurred, blurred)
    return Image.composite(edited, original, ImageChops.lighter(mask, doubled))


def _whiteness(mask: Image.Image) -> Image.Image:
    return _flattened(mask, onto="black").convert("L")


def _transparency(mask: Image.Image) -> Image.Image:
    alpha = mask.convert("RGBA").getchannel("A")
    is_opaque = alpha.getextrema()[0] == 255
    return _whiteness(mask) if is_opaque else ImageOps.invert(alpha)


def _flattened(picture: Image.Image, onto: str = "white") -> Image.Image:
    if picture.mode == "I;16":  # Pillow's own conversion cuts off at 255 instead of scaling
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    background = Image.new("RGBA", picture.size, onto)
    return Image.alpha_composite(background, picture.convert("RGBA")).convert("RGB")


def _with_watermark(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a marked copy of `pixels` [height, width, 3], as diffusers marks it."""
    bgr = np.ascontiguousarray(pixels[:, :, ::-1], dtype=np.float32)
    encoder = WatermarkEncoder()
    encoder.set_watermark("bits", WATERMARK_BITS)
    marked = encoder.encode(bgr, "dwtDct")
    rounded: NDArray[np.uint8] = marked[:, :, ::-1].clip(0, 255).round().astype(np.uint8)
    return rounded
