"""From uploaded files to what the runners take."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from PIL import Image, ImageOps

from runners.frames import Frame, Kind, pixels_of
from sdxl.config.settings import Settings
from sdxl.error_codes import ErrorCode
from sdxl.errors import RelayError, invalid_field
from sdxl.picture.fill import filled
from sdxl.picture.image import (
    PictureError,
    PictureTooLargeError,
    UnsupportedPictureError,
    read_picture,
    upright_size,
)
from sdxl.picture.mask import MaskConvention, paste_original, read_mask
from sdxl.picture.pixels import Size
from sdxl.request.fields import MIN_SIDE_PX
from sdxl.request.requests import EditRequest, RefineRequest

CODES: dict[str, ErrorCode] = {"mask": "invalid_mask"}


@dataclass(frozen=True, kw_only=True)
class Original:
    """An uploaded picture (RGB), and what of it is to be repainted: 255 in a mask of mode L and the same size."""

    file: bytes  # the picture as it came
    picture: Image.Image
    mask: Image.Image | None = None
    scaled: str | None = None  # from which size to which, if the picture came too large
    latents_px: Size | None = None  # the size to which its latents are to be enlarged, (width, height)
    finish: Callable[[Image.Image], Image.Image] | None = None  # what pastes the original over the result, if not we

    def frame(self, request: RefineRequest | EditRequest) -> Frame:
        """The request with the picture's pixels, and the mask's after them."""
        meta = {
            "request": request.model_dump(),
            "width": self.picture.width,
            "height": self.picture.height,
            "has_mask": self.mask is not None,
            "latents_px": self.latents_px,
        }
        mask = b"" if self.mask is None else self.mask.tobytes()
        has_content = isinstance(request, EditRequest) and request.masked_content != "original"
        picture = self._filled if has_content else self.picture
        return Frame(kind=Kind.PICTURE, meta=meta, body=picture.tobytes() + mask)

    @cached_property
    def _filled(self) -> Image.Image:
        """With the colours of what is kept where it is repainted. For noise, too: the VAE sees beyond a mask's edge."""
        return self.picture if self.mask is None else filled(self.picture, self.mask)

    def fitted(self, size_px: tuple[int, int]) -> Original:
        """Scaled to (width, height), and what is too much at two sides cut off."""
        if size_px == self.picture.size:
            return self
        picture, mask = (
            None if image is None else ImageOps.fit(image, size_px, Image.Resampling.LANCZOS)
            for image in (self.picture, self.mask)
        )
        assert picture is not None
        return replace(self, picture=picture, mask=mask, scaled=None)  # to what was asked for

    def pasted_over(self, result: Frame) -> Frame:
        """The result of an edit with the original's own pixels where the mask keeps them."""
        if self.mask is None:
            return result
        made = Image.fromarray(pixels_of(result))
        pasted = self.finish(made) if self.finish else paste_original(made, self.picture, self.mask)
        meta = {**result.meta, "width": pasted.width, "height": pasted.height}
        return replace(result, meta=meta, body=pasted.tobytes())


def read_original(
    image: bytes | Path, settings: Settings, mask: bytes | Path | None = None, repaint: MaskConvention = "white"
) -> Original:
    """The uploaded files, scaled down to the limits if need be.

    Raises RelayError (400, 413 or 415) that names the field, `image` or `mask`.
    """
    limits = {"max_bytes": settings.max_upload_bytes, "max_pixels": settings.max_pixels}
    file = image.read_bytes() if isinstance(image, Path) else image
    with faults_named("image"):
        size, picture = upright_size(file, max_bytes=settings.max_upload_bytes), read_picture(file, **limits)
    if min(picture.size) < MIN_SIDE_PX:
        raise invalid_field("image", _shown(size), f"{MIN_SIDE_PX} px a side, also within {settings.max_pixels} pixels")
    levels = None
    if mask is not None:
        with faults_named("mask"):
            mask_size, levels = (
                upright_size(mask, max_bytes=settings.max_upload_bytes),
                read_mask(mask, repaint=repaint, **limits),
            )
        if mask_size != size:
            raise invalid_field("mask", _shown(mask_size), f"the image's size, {_shown(size)}")
    scaled = None if picture.size == size else f"{_shown(size)} to {_shown(picture.size)}"
    return Original(file=file, picture=picture, mask=levels, scaled=scaled)


def _shown(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


@contextmanager
def faults_named(field: str) -> Iterator[None]:
    """Gives what is wrong with an upload its status: a RelayError (400, 413 or 415) that names its field."""
    try:
        yield
    except PictureError as error:
        code = CODES.get(field, "invalid_image")
        raise RelayError(_status(error), code, f"{field}: {error}", field=field) from error


def _status(error: PictureError) -> int:
    if isinstance(error, UnsupportedPictureError):
        return 415
    return 413 if isinstance(error, PictureTooLargeError) else 400
