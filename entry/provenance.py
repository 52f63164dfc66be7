"""What can be told of a picture that somebody uploads: how it was made, by its metadata, watermark and credentials."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from entry.http.upload import faults_named
from sdxl.config.settings import Settings
from sdxl.picture.credentials import ContentCredentials, read_credentials
from sdxl.picture.image import opened_picture
from sdxl.picture.metadata import Metadata
from sdxl.picture.parameters import Parameters, parsed
from sdxl.picture.pixels import flattened, in_8_bits
from sdxl.picture.record import Record
from sdxl.picture.watermark import FALSE_POSITIVE_RATE, Reading, find_watermark

PROVENANCE_ROUTE = "/provenance"
ENLARGED = 4  # times SDXL_MAX_PIXELS: past twice the sides, the watermark of a picture made here is not found
MAX_AT_ONCE = 2  # each takes a core for a while; pictures that are being made go on beside them
_PLACES = asyncio.Semaphore(MAX_AT_ONCE)


class NoFields(BaseModel):
    """The form's fields beside the picture."""

    model_config = ConfigDict(extra="forbid")


class Watermark(BaseModel):
    """What was found of the watermark that SDXL's pictures carry, those of this server and of many others."""

    present: bool
    bits_right_share: float
    correlation: float
    false_positive_rate: float = FALSE_POSITIVE_RATE
    """At most, for `present` in pictures without watermark."""
    width: int
    height: int
    """The size at which it was read best."""

    @classmethod
    def of(cls, reading: Reading) -> Self:
        """The answer's form of a reading."""
        return cls(
            present=reading.is_present,
            bits_right_share=round(reading.bits_right_share, 4),
            correlation=round(reading.correlation, 4),
            width=reading.width,
            height=reading.height,
        )


class Provenance(BaseModel):
    """All of it; what the picture does not have is left out."""

    width: int
    height: int
    parameters: str | None = None
    """The text in AUTOMATIC1111's form, whoever wrote it."""
    parameters_parsed: Parameters | None = None
    """What that text says, field by field."""
    sdxl_relay: Record | None = None
    """What a picture of this server says of itself. It is not signed: anybody can write it."""
    watermark: Watermark | None = None
    watermark_skipped: str | None = None
    """Why no watermark was looked for, if none was."""
    content_credentials: ContentCredentials | None = None

    def as_response(self) -> Response:
        """The answer to a client."""
        return Response(self.model_dump_json(exclude_none=True), media_type="application/json")


async def provenance_of(image: Path, settings: Settings) -> Provenance:
    """Raises RelayError (400, 413 or 415) for what is not a picture."""
    async with _PLACES:
        return await asyncio.to_thread(_provenance, image, settings)


def _provenance(image: Path, settings: Settings) -> Provenance:
    limits = {"max_bytes": settings.max_upload_bytes}
    with faults_named("image"), opened_picture(image, **limits, max_pixels=None) as picture:
        (width, height), metadata = picture.size, Metadata.read(picture)
    record, reading, skipped = metadata.record, None, None
    if width * height <= (limit := ENLARGED * settings.max_pixels):
        with faults_named("image"), opened_picture(image, **limits, max_pixels=limit) as picture:
            pixels = flattened(in_8_bits(picture))
        made_as = (record.width, record.height) if record else None
        reading = find_watermark(pixels, made_as=made_as, max_pixels=settings.max_pixels)
        skipped = None if reading else "the picture is too small to have one"
    else:
        skipped = f"the picture has {width * height} pixels, and it is looked for in up to {limit}"
    return Provenance(
        width=width,
        height=height,
        parameters=metadata.parameters,
        parameters_parsed=None if metadata.parameters is None else parsed(metadata.parameters),
        sdxl_relay=record,
        watermark=Watermark.of(reading) if reading else None,
        watermark_skipped=skipped,
        content_credentials=read_credentials(image.read_bytes()),
    )
