"""From an uploaded file to what the refiner takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from runners.frames import Frame, Kind
from sdxl.config import Settings
from sdxl.errors import RelayError, invalid_field
from sdxl.image import PictureError, PictureTooLargeError, UnsupportedPictureError, read_picture
from sdxl.request import MIN_SIDE_PX, RefineRequest


@contextmanager
def faults_named() -> Iterator[None]:
    """Gives what is wrong with an upload its status: a RelayError (400, 413 or 415) that names the field `image`."""
    try:
        yield
    except PictureError as error:
        raise RelayError(_status(error), "invalid_image", f"image: {error}", field="image") from error


def picture_frame(image: Path, request: RefineRequest, settings: Settings) -> Frame:
    """The request with its picture's pixels. Raises RelayError (400, 413 or 415) that names the field `image`."""
    max_bytes = settings.max_upload_mb * 1_000_000
    with faults_named():
        picture = read_picture(image, max_bytes=max_bytes, max_pixels=settings.max_pixels)
    if min(picture.size) < MIN_SIDE_PX:
        raise invalid_field("image", f"{picture.width} x {picture.height}", f"at least {MIN_SIDE_PX} px a side")
    meta = {"request": request.model_dump(), "width": picture.width, "height": picture.height}
    return Frame(kind=Kind.PICTURE, meta=meta, body=np.asarray(picture).tobytes())


def _status(error: PictureError) -> int:
    if isinstance(error, UnsupportedPictureError):
        return 415
    return 413 if isinstance(error, PictureTooLargeError) else 400
