"""Pictures: encoded and watermarked for the client, and read from uploads that nobody vouches for.

The entry service calls this in threads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from sdxl.picture.colour import in_srgb
from sdxl.picture.exif import orientation
from sdxl.picture.jpeg import JpegFile
from sdxl.picture.metadata import Metadata
from sdxl.picture.pixels import SIDEWAYS, flattened, reduced, upright
from sdxl.picture.png import SIGNATURE, PngFile
from sdxl.picture.watermark import is_large_enough, with_watermark
from sdxl.request.fields import OutputFormat

MEDIA_TYPES: dict[OutputFormat, str] = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}

MAX_DECODED_PIXELS = 50_000_000  # of an upload before it is scaled down; phones' cameras have 12 to 50 million
MAX_JPEG_SCANS, MAX_SCANNED_PIXELS = 100, 10**9  # encoders write about ten; a scan of 16 bytes decodes all pixels


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
    pixels: NDArray[np.uint8],
    *,
    output_format: OutputFormat,
    quality: int,
    watermark: bool,
    metadata: Metadata | None = None,
) -> EncodedPicture:
    """Encode `pixels` [height, width, 3], RGB, uint8.

    `quality` (1 to 100) is for JPEG and WebP; PNG is without loss. With `watermark`, the picture carries
    diffusers' watermark (sdxl/picture/watermark.py), unless it is too small for it.
    """
    height_px, width_px, _ = pixels.shape
    marks = watermark and is_large_enough(width_px, height_px)
    picture = Image.fromarray(with_watermark(pixels) if marks else pixels)
    options: dict[OutputFormat, dict[str, int | str]] = {
        "png": {"compress_level": 1},  # less than half of the default's time, 15% more bytes
        "jpeg": {"quality": quality, "subsampling": "4:4:4"},  # coarser colours would wear the watermark
        "webp": {"quality": quality},
    }
    written = {} if metadata is None else metadata.as_options(output_format)
    buffer = BytesIO()
    picture.save(buffer, output_format, **options[output_format], **written)
    return EncodedPicture(data=buffer.getvalue(), media_type=MEDIA_TYPES[output_format], watermarked=marks)


def plain_file(picture: Image.Image, output_format: OutputFormat) -> bytes:
    """A picture (RGB) as a file without watermark and metadata, for it was not made here."""
    options = {"compress_level": 1} if output_format == "png" else {"quality": 90}
    buffer = BytesIO()
    picture.save(buffer, output_format, **options)
    return buffer.getvalue()


def encode_preview(pixels: NDArray[np.uint8], *, output_format: OutputFormat) -> bytes:
    """A preview [height/8, width/8, 3], uint8, as a file of the picture's size: small rather than exact."""
    height, width, _ = pixels.shape
    size_px = (8 * width, 8 * height)
    buffer = BytesIO()
    Image.fromarray(pixels).resize(size_px, Image.Resampling.BICUBIC).save(buffer, output_format)
    return buffer.getvalue()


def read_picture(upload: bytes | Path, *, max_bytes: int, max_pixels: int) -> Image.Image:
    """Decode an upload to an RGB picture: upright, its first frame, in sRGB, transparency flattened onto white.

    What has more than `max_pixels` or MAX_SIDE_PX a side is scaled down to them, to sides that are multiples of 8.
    Raises UnsupportedPictureError, PictureTooLargeError or BrokenPictureError. The number of pixels is
    checked before any is decoded.
    """
    with opened_picture(upload, max_bytes=max_bytes) as picture:
        return flattened(upright(in_srgb(reduced(picture, max_pixels), picture.info), picture))


def upright_size(upload: bytes | Path, *, max_bytes: int) -> tuple[int, int]:
    """Width and height of an upload as its viewer sees it, before anything is scaled. Decodes no pixel."""
    with opened_picture(upload, max_bytes=max_bytes) as picture:
        return picture.size[::-1] if orientation(picture.info) in SIDEWAYS else picture.size


@contextmanager
def opened_picture(
    upload: bytes | Path, *, max_bytes: int, max_pixels: int | None = MAX_DECODED_PIXELS
) -> Iterator[ImageFile]:
    """Open an upload, its pixels not yet decoded; without `max_pixels`, only what it says is to be read.

    What fails in the block is its fault, as in `read_picture`.
    """
    size_bytes = upload.stat().st_size if isinstance(upload, Path) else len(upload)
    if size_bytes > max_bytes:
        raise PictureTooLargeError(f"picture of {size_bytes} bytes, allowed are {max_bytes}")
    data = upload.read_bytes() if isinstance(upload, Path) else upload
    reader = _reader_for(data)
    try:
        picture = reader(BytesIO(data))
        if max_pixels is not None:
            _check_pixels(picture, max_pixels)
            _check_scans(picture)
        yield picture
    except PictureError:
        raise
    except Exception as error:  # for broken data Pillow raises a dozen kinds, from SyntaxError to zlib.error
        raise BrokenPictureError(f"broken or truncated {reader.format} picture: {error!s:.200}") from None


def media_type_of(data: bytes) -> str:
    """The media type of a PNG, JPEG or WebP file. Raises UnsupportedPictureError for others."""
    return f"image/{(_reader_for(data).format or '').lower()}"


def _reader_for(data: bytes) -> type[ImageFile]:
    """Return Pillow's reader for `data`.

    Image.open would do, but for its decompression bomb warning, which can only be silenced globally.
    """
    if data.startswith(SIGNATURE):
        return PngFile
    if data.startswith(b"\xff\xd8\xff"):
        return JpegFile
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImageFile
    raise UnsupportedPictureError(f"file that begins with {data[:12]!r}, allowed are PNG, JPEG and WebP")


def _check_pixels(picture: Image.Image, max_pixels: int) -> None:
    if (pixels := picture.width * picture.height) > max_pixels:
        size = f"{picture.width} x {picture.height} = {pixels} pixels"
        raise PictureTooLargeError(f"picture of {size}, allowed are {max_pixels}")


def _check_scans(picture: Image.Image) -> None:
    """Of a JPEG: a scan can be empty, and still costs its decoder all pixels."""
    if isinstance(picture, JpegFile):
        allowed = min(MAX_JPEG_SCANS, MAX_SCANNED_PIXELS // (picture.width * picture.height))
        if picture.scans > allowed:
            raise BrokenPictureError(f"JPEG picture of {picture.scans} scans, allowed are {allowed} at this size")
