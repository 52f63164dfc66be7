"""Larger pictures from pictures: AUTOMATIC1111's "extras"."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated

from PIL import Image
from pydantic import BaseModel, Field

from entry.automatic1111.base64_pictures import as_base64, file_of
from entry.automatic1111.forgiving import NUMBER, Forgiving, Portion, Whole
from entry.automatic1111.requests import MAX_PICTURES
from entry.automatic1111.upscalers import Enlarge, upscaler_named
from entry.http.upload import faults_named
from sdxl.config.settings import Settings
from sdxl.errors import invalid_field
from sdxl.picture.fit import fitted
from sdxl.picture.image import plain_file, read_picture
from sdxl.picture.pixels import Size
from sdxl.request.fields import MAX_SIDE_PX, OutputFormat

ENLARGED = 16  # times SDXL_MAX_PIXELS, of a request: four times the sides of the largest picture that is made here
MAX_AT_ONCE = 2  # each takes a core for a while; pictures that are being made go on beside them
_PLACES = asyncio.Semaphore(MAX_AT_ONCE)

Length = Annotated[Whole, Field(ge=1, le=MAX_SIDE_PX)]
Visibility = Annotated[Portion, NUMBER]


class _Extras(Forgiving):
    resize_mode: Annotated[Whole, Field(ge=0, le=1)] = 0
    show_extras_results: bool = True
    gfpgan_visibility: Visibility = 0.0
    codeformer_visibility: Visibility = 0.0
    upscaling_resize: Annotated[float, Field(gt=0, le=16), NUMBER] = 2.0
    upscaling_resize_w: Length = 512
    upscaling_resize_h: Length = 512
    upscaling_crop: bool = True
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: Visibility = 0.0

    def model_post_init(self, _context: object) -> None:
        """Raises RelayError (400) for what cannot be done here."""
        for name in ("gfpgan_visibility", "codeformer_visibility"):
            if getattr(self, name) > 0:
                raise invalid_field(name, getattr(self, name), "0, for there is nothing here that restores faces")
        upscaler_named(self.upscaler_1, "upscaler_1")
        upscaler_named(self.upscaler_2, "upscaler_2")

    @property
    def ways(self) -> list[tuple[Enlarge, float]]:
        """How to enlarge, and how much of each is seen in the end."""
        first = upscaler_named(self.upscaler_1, "upscaler_1")
        second = upscaler_named(self.upscaler_2, "upscaler_2")
        if first is None:
            return []
        share = self.extras_upscaler_2_visibility if second else 0.0
        return [(first, 1.0), *([(second, share)] if second and share else [])]

    def sizes(self, own: Size) -> tuple[Size, Size]:
        """To what a picture of this size is enlarged, and to what it is cut after that."""
        width, height = own
        if self.resize_mode == 0:
            size = max(1, int(width * self.upscaling_resize)), max(1, int(height * self.upscaling_resize))
            return size, size
        wanted = self.upscaling_resize_w, self.upscaling_resize_h
        factor = max(wanted[0] / width, wanted[1] / height)
        size = max(wanted[0], round(width * factor)), max(wanted[1], round(height * factor))
        return size, wanted if self.upscaling_crop else size


class ExtraSingle(_Extras):
    """A larger picture (`POST /sdapi/v1/extra-single-image`)."""

    image: str


class NamedPicture(Forgiving):
    """A picture of several."""

    data: str
    name: str = ""


class ExtraBatch(_Extras):
    """Larger pictures (`POST /sdapi/v1/extra-batch-images`)."""

    imageList: Annotated[tuple[NamedPicture, ...], Field(min_length=1, max_length=MAX_PICTURES)]


class ExtraSingleAnswer(BaseModel):
    """The picture in base64."""

    html_info: str
    image: str


class ExtraBatchAnswer(BaseModel):
    """The pictures in base64."""

    html_info: str
    images: list[str]


async def enlarged(
    wanted: _Extras, texts: Sequence[tuple[str, str]], output_format: OutputFormat, settings: Settings
) -> list[str]:
    """The pictures, in base64, of each text and the name of its field.

    Raises RelayError (400, 413 or 415) that names the field.
    """
    limits = {"max_bytes": settings.max_upload_bytes, "max_pixels": ENLARGED * settings.max_pixels // len(texts)}
    async with _PLACES:
        return await asyncio.to_thread(
            lambda: [as_base64(_enlarged(wanted, *text, output_format, limits)) for text in texts]
        )


def _enlarged(wanted: _Extras, text: str, field: str, output_format: OutputFormat, limits: Mapping[str, int]) -> bytes:
    with faults_named(field):
        picture = read_picture(file_of(text, field), **limits)
    if wanted.ways:
        size, cut = wanted.sizes(picture.size)
        _check_size(wanted, size, limits["max_pixels"])
        picture = fitted(_blended([(way(picture, size), share) for way, share in wanted.ways]), cut, "crop")
    return plain_file(picture, output_format)


def _blended(pictures: list[tuple[Image.Image, float]]) -> Image.Image:
    (result, _), *others = pictures
    for picture, share in others:
        result = Image.blend(result, picture, share)
    return result


def _check_size(wanted: _Extras, size: Size, most: int) -> None:
    if size[0] * size[1] > most or max(size) > 2 * MAX_SIDE_PX:
        field, got = (
            ("upscaling_resize", wanted.upscaling_resize)
            if wanted.resize_mode == 0
            else ("upscaling_resize_w", wanted.upscaling_resize_w)
        )
        allowed = f"{most} pixels for each result; this would be {size[0]} x {size[1]}"
        raise invalid_field(field, got, allowed)
