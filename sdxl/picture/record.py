"""What a picture was made of: the request with everything settled, and by whom it was done."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from sdxl.request.fields import MAX_REQUEST_BYTES
from sdxl.request.loras import LoraName
from sdxl.request.requests import EditRequest, GenerationRequest, PictureRequest, RefineRequest
from sdxl.version import VERSION

MAX_RECORD_BYTES = MAX_REQUEST_BYTES
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Version = Annotated[str, StringConstraints(max_length=100)]
PictureSide = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Checkpoints(BaseModel):
    """SHA-256 of each checkpoint that had a part in the picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: Digest | None = None
    refiner: Digest | None = None


class AppliedLoras(BaseModel):
    """SHA-256 of the file of each LoRA by its name, for each stage that applied any; scales are in the request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: dict[LoraName, Digest] | None = None
    refiner: dict[LoraName, Digest] | None = None


class _Record(BaseModel):
    """Fields that a later version may add are left out when its pictures are read."""

    model_config = ConfigDict(frozen=True)

    version: Version = VERSION
    width: PictureSide
    height: PictureSide
    checkpoints: Checkpoints
    loras: AppliedLoras | None = None


class GenerationRecord(_Record):
    """Of a picture of /generate or /generate_batch. Its request, sent to /generate, gives the same picture."""

    endpoint: Literal["/generate"] = "/generate"
    request: GenerationRequest


class RefineRecord(_Record):
    """Of a picture of /refine. Its request, sent to /refine with the same upload, gives the same picture."""

    endpoint: Literal["/refine"] = "/refine"
    request: RefineRequest


class EditRecord(_Record):
    """Of a picture of /edit. Its request, sent to /edit with the same uploads, gives the same picture."""

    endpoint: Literal["/edit"] = "/edit"
    request: EditRequest


AnyRecord = GenerationRecord | RefineRecord | EditRecord
Record = Annotated[AnyRecord, Field(discriminator="endpoint")]
_RECORD: TypeAdapter[AnyRecord] = TypeAdapter(Record)

# XML 1.0 has no place for these, not even escaped; and an apostrophe ends the attribute that exiftool may make of it.
_NOT_IN_XML = re.compile("['\x7f-\x9f\ufffe\uffff]")


def record_of(
    request: PictureRequest,
    settled: Mapping[str, Any],
    size: tuple[int, int],
    checkpoints: Mapping[str, str],
    loras: Mapping[str, Mapping[str, str]] | None = None,
) -> AnyRecord:
    """The record of a picture of `size` (width, height); `settled` is the request's `with_defaults`, as JSON.

    `loras` has, for each stage that applied any, their files' digests by their names.
    """
    # The fields that are the entry's alone are in the request only.
    values = {**request.model_dump(), **{name: value for name, value in settled.items() if value is not None}}
    width, height = size
    made: dict[str, Any] = {"width": width, "height": height, "checkpoints": Checkpoints.model_validate(checkpoints)}
    if loras:
        made["loras"] = AppliedLoras.model_validate(loras)
    match request:
        case RefineRequest():
            return RefineRecord(request=RefineRequest.model_validate(values), **made)
        case EditRequest():
            return EditRecord(request=EditRequest.model_validate(values), **made)
        case _:
            return GenerationRecord(request=GenerationRequest.model_validate(values), **made)


def as_json(record: AnyRecord) -> str:
    """The record as JSON that can be put into XML once `&`, `<` and `>` are escaped."""
    values = record.model_dump(mode="json", exclude_none=True)
    return _NOT_IN_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(values, ensure_ascii=False))


def from_json(text: str) -> AnyRecord | None:
    """The record that a picture of anybody's says to be ours; None if it is not one."""
    if len(text) > MAX_RECORD_BYTES:
        return None
    try:
        return _RECORD.validate_json(text)
    except ValidationError:
        return None
