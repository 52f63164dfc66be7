"""What the Images API answers: as OpenAI's client reads it, and a little more beside."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from entry.answer import PictureFile
from entry.openai.requests import ImageEdit, ImageGeneration
from sdxl.request.fields import OutputFormat

EVENT_QUALITIES = ("low", "medium", "high", "xhigh", "max")


class UsageDetails(BaseModel):
    """Of `Usage`."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """Zeros, for clients that read it: these models are not charged for by tokens, so none are counted."""

    input_tokens: int = 0
    input_tokens_details: UsageDetails = UsageDetails()
    output_tokens: int = 0
    total_tokens: int = 0


class Image(BaseModel):
    """One picture, in base64 or where to fetch it; the other fields are ours."""

    b64_json: str | None = None
    url: str | None = None
    seed: int
    timings: dict[str, float]
    """Milliseconds of each phase, as in /generate's Server-Timing."""
    warnings: dict[str, str]


class ImagesAnswer(BaseModel):
    """All pictures of a request. `model` and `warnings` are ours."""

    created: int
    model: str
    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat
    size: str
    data: list[Image]
    usage: Usage = Usage()
    warnings: dict[str, str]
    """Fields of the request that have no meaning here."""


class ErrorDetail(BaseModel):
    """What is wrong; `param` is the field."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIError(BaseModel):
    """The body of every error under /v1."""

    error: ErrorDetail


def images_answer(
    wanted: ImageGeneration | ImageEdit,
    pictures: Sequence[PictureFile],
    warnings: Mapping[str, str],
    urls: Sequence[str],
) -> ImagesAnswer:
    """The answer that is no stream, with further `warnings`; with `urls` in place of the pictures if there are any."""
    return ImagesAnswer(
        created=int(time.time()),
        model=pictures[0].model,
        output_format=wanted.format,
        size=_size(pictures[0].width_px, pictures[0].height_px),
        data=[
            Image(
                b64_json=None if url else _base64(picture.data),
                url=url,
                seed=picture.seed or 0,
                timings=picture.spent_ms,
                warnings=picture.warnings,
            )
            for picture, url in zip_longest(pictures, urls)
        ],
        warnings={**wanted.warnings, **warnings},
    )


def partial_event(
    wanted: ImageGeneration | ImageEdit, index: int, preview: NDArray[np.uint8], data: bytes
) -> dict[str, Any]:
    """A preview [height/8, width/8, 3] that was encoded as `data`."""
    height, width, _ = preview.shape
    common = _common(wanted, data, _size(8 * width, 8 * height))
    return {"type": f"{_prefix(wanted)}.partial_image", "partial_image_index": index, **common}


def completed_event(wanted: ImageGeneration | ImageEdit, picture: PictureFile) -> dict[str, Any]:
    """The last event."""
    common = _common(wanted, picture.data, _size(picture.width_px, picture.height_px))
    return {"type": f"{_prefix(wanted)}.completed", **common, "usage": Usage().model_dump()}


def _prefix(wanted: ImageGeneration | ImageEdit) -> str:
    return "image_generation" if isinstance(wanted, ImageGeneration) else "image_edit"


def _common(wanted: ImageGeneration | ImageEdit, data: bytes, size: str) -> dict[str, Any]:
    return {
        "b64_json": _base64(data),
        "created_at": int(time.time()),
        "size": size,
        "quality": wanted.quality if wanted.quality in EVENT_QUALITIES else "auto",
        "background": "opaque",
        "output_format": wanted.format,
    }


def _size(width_px: int, height_px: int) -> str:
    return f"{width_px}x{height_px}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
