"""What a picture's file says of its making, in AUTOMATIC1111's words."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from entry.automatic1111.base64_pictures import file_of
from entry.automatic1111.forgiving import Forgiving
from entry.http.upload import faults_named
from sdxl.config.settings import Settings
from sdxl.picture.image import opened_picture
from sdxl.picture.metadata import RECORD_KEY, Metadata
from sdxl.picture.parameters import Parameters, parsed
from sdxl.picture.record import as_json

_NAMES = {
    "Prompt": "prompt", "Negative prompt": "negative_prompt", "Steps": "steps", "Sampler": "sampler",
    "Schedule type": "schedule_type", "CFG scale": "cfg_scale", "Seed": "seed", "Size-1": "width", "Size-2": "height",
    "Model hash": "model_hash", "Model": "model", "Denoising strength": "denoising_strength", "Clip skip": "clip_skip",
    "Version": "version",
}  # fmt: skip


class PngInfo(Forgiving):
    """A picture to be read (`POST /sdapi/v1/png-info`)."""

    image: str


class PngInfoAnswer(BaseModel):
    """The text, the file's other texts, and the text field by field; empty where there is none."""

    info: str
    items: dict[str, Any]
    parameters: dict[str, str]


def png_info(wanted: PngInfo, settings: Settings) -> PngInfoAnswer:
    """To be run in a thread. Raises RelayError (400, 413 or 415)."""
    file = file_of(wanted.image, "image")
    with (
        faults_named("image"),
        opened_picture(file, max_bytes=settings.max_upload_bytes, max_pixels=None) as picture,
    ):
        metadata = Metadata.read(picture)
    text, record = metadata.parameters or "", metadata.record
    found = parsed(text) if text else None
    return PngInfoAnswer(
        info=text,
        items={} if record is None else {RECORD_KEY: as_json(record)},
        parameters={} if found is None else _as_there(found),
    )


def _as_there(found: Parameters) -> dict[str, str]:
    values = found.model_dump(exclude_none=True)
    named = {name: _text(values[ours]) for name, ours in _NAMES.items() if ours in values}
    return {"Negative prompt": "", **named, **found.others}


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
