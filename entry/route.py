"""What the gate checks of a request's body, by its route."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Scope

from runners.http import replay
from sdxl.errors import RelayError, invalid_field, invalid_request
from sdxl.request import MAX_REQUEST_BYTES

JSON, FORM = "application/json", "multipart/form-data"
FILE_FIELD = "image"


def bentoml_fields(form: FormData) -> dict[str, Any]:
    """A form's text fields, read as BentoML reads them: as JSON where they are JSON."""
    if not isinstance(form.get(FILE_FIELD), UploadFile):
        raise invalid_field(FILE_FIELD, form.get(FILE_FIELD), "a picture as a file: PNG, JPEG or WebP")
    fields: dict[str, Any] = {}
    for name, value in form.items():
        if name == FILE_FIELD:
            continue
        if isinstance(value, UploadFile):
            raise invalid_field(name, value.filename, "text; the one file is the field image")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields


@dataclass(frozen=True)
class Route:
    """A path that takes a body, and what that must be. Without a model, there is no body."""

    media_type: str = JSON
    model: type[BaseModel] | None = None
    max_bytes: int = 0
    fields: Callable[[FormData], dict[str, Any]] = bentoml_fields
    """The text fields of a form; raises RelayError for a file that is missing, or in the wrong place."""
    max_files: int = 1

    def check_media_type(self, headers: Headers) -> None:
        """Raises RelayError (415)."""
        got = headers.get("content-type", JSON).split(";")[0].strip().lower()
        if got != self.media_type:
            raise RelayError(
                415,
                "unsupported_media_type",
                f"content-type: got {got}; allowed: {self.media_type}",
                field="content-type",
                got=got,
            )

    async def check_fields(self, scope: Scope, body: bytes) -> None:
        """Raises RelayError."""
        if self.model is None:
            return
        try:
            if self.media_type == JSON:
                self.model.model_validate_json(body)
            else:
                form = await parse_form(scope, body, self.max_files)
                self.model.model_validate(self.fields(form))
                await form.close()
        except ValidationError as error:
            raise invalid_request(error) from None


async def parse_form(scope: Scope, body: bytes, max_files: int) -> FormData:
    """Raises RelayError (400) for what is no form."""
    try:
        return await Request(scope, replay(body, then=_nothing_more)).form(
            max_files=max_files, max_fields=50, max_part_size=MAX_REQUEST_BYTES
        )
    except HTTPException as error:
        raise RelayError(400, "invalid_form", f"the body is not a valid form: {error.detail}") from None


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}
