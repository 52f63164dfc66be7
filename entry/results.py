"""What became of each of several pictures, as JSON."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from entry.answer import PictureFile
from runners.noted import note_error
from sdxl.errors import RelayError


class PictureFault(BaseModel):
    """The body of /generate's answer to a bad request, with its status."""

    error: str
    code: str
    status: int
    field: str | None = None
    got: Any = None
    retry_after_s: int | None = None


class PictureResult(BaseModel):
    """What became of one of several pictures: its file in base64, or an error."""

    picture: str | None = None
    media_type: str | None = None
    seed: int | None = None
    warnings: dict[str, str] = {}
    models: dict[str, str] = {}  # that made it, by stage
    loras: str | None = None  # which were applied where, if any were asked for
    timings: dict[str, float] = {}  # ms; `queue` counts from the client's coming
    error: PictureFault | None = None


def made(picture: PictureFile, waited_ms: float) -> PictureResult:
    """A picture that had waited before its request was sent."""
    result = PictureResult.model_validate(picture.as_json())
    result.timings["queue"] += waited_ms
    return result


def failed(error: RelayError) -> PictureResult:
    """An error, which the request's line in the log names, too."""
    note_error(error)
    return PictureResult(error=PictureFault.model_validate(error.as_frame()))
