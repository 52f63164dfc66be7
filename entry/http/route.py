"""What the gate checks of a request's body, by its route."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message, Scope

from runners.http import replay
from sdxl.errors import RelayError, invalid_field, invalid_request, shorten
from sdxl.request.fields import MAX_REQUEST_BYTES

JSON, FORM = "application/json", "multipart/form-data"
NOT_COMPRESSED = ("", "identity", "utf-8", "utf8")  # some clients say here what belongs into the content type
Leave = Callable[[], object]
"""What to do when a client leaves whose request is not to be cancelled."""
MAX_FILES = 20  # that a form is read with: more than are allowed, so that an error can say which is too many


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the OpenAPI document says of an answer: JSON of the type `kind`, or another content."""

    description: str
    kind: Any = None
    content: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Route:
    """What the gate checks of a request. Without a model, there is no body."""

    media_type: str = JSON
    model: type[BaseModel] | None = None
    max_bytes: int = 0
    files: Mapping[str, bool] = field(default_factory=dict)
    """The file fields of a form, and whether each is required."""
    read_fields: Callable[[FormData], dict[str, Any]] | None = None
    """Of a form that is not for BentoML: checks its files and gives its text fields. Raises RelayError."""
    holding: Callable[[], AbstractContextManager[Leave]] | None = None
    """For work that must not be cancelled with its request: what is held while it lasts. May raise RelayError."""
    answers: Mapping[int, Answer] = field(default_factory=dict)
    """By status; errors are not among them."""
    described: type[BaseModel] | None = None
    """What the OpenAPI document says of the body, where that is more than `model` checks."""

    def check_media_type(self, headers: Headers) -> None:
        """Raises RelayError (415) for another type, and for a body that is compressed."""
        coding = headers.get("content-encoding", "").strip().lower()
        if coding not in NOT_COMPRESSED:
            raise RelayError(
                415,
                "unsupported_encoding",
                f"content-encoding: got {shorten(coding)}; allowed: none, the body as it is",
                field="content-encoding",
                got=shorten(coding),
            )
        got = (headers.get("content-type") or JSON).split(";")[0].strip().lower()
        if got != self.media_type:
            raise RelayError(
                415,
                "unsupported_media_type",
                f"content-type: got {got}; allowed: {self.media_type}",
                field="content-type",
                got=got,
            )

    def as_utf_8(self, body: bytes) -> bytes:
        """JSON without a byte order mark, as files of Windows have one; from UTF-16 and UTF-32, too.

        Raises RelayError (400).
        """
        if self.media_type != JSON:
            return body
        try:
            return body.decode(json.detect_encoding(body)).encode()
        except UnicodeError:
            raise RelayError(400, "invalid_json", "the body is not text in UTF-8") from None

    async def check_fields(self, scope: Scope, body: bytes) -> None:
        """Raises RelayError."""
        if self.model is None:
            return
        try:
            if self.media_type == JSON:
                self.model.model_validate_json(body)
            else:
                form = await parse_form(scope, body)
                read_fields = self.read_fields or (lambda form: bentoml_fields(form, self.files))
                self.model.model_validate(read_fields(form))
                await form.close()
        except ValidationError as error:
            raise invalid_request(error) from None


async def parse_form(scope: Scope, body: bytes) -> FormData:
    """Raises RelayError (400) for what is no form."""
    try:
        return await Request(scope, replay(body, then=_nothing_more)).form(
            max_files=MAX_FILES, max_fields=50, max_part_size=MAX_REQUEST_BYTES
        )
    except HTTPException as error:
        raise RelayError(400, "invalid_form", f"the body is not a valid form: {error.detail}") from None


def bentoml_fields(form: FormData, files: Mapping[str, bool]) -> dict[str, Any]:
    """A form's text fields, read as BentoML reads them: as JSON where they are JSON. Its files are checked."""
    for name, is_required in files.items():
        check_file(name, form.getlist(name), is_required)
    fields: dict[str, Any] = {}
    for name, value in form.items():
        if name in files:
            continue
        if isinstance(value, UploadFile):
            raise invalid_field(name, value.filename, f"text; a file may only be the field {' or '.join(files)}")
        try:
            fields[name] = json.loads(value)
        except ValueError:
            fields[name] = value
    return fields


def check_file(name: str, parts: Sequence[UploadFile | str], is_required: bool) -> None:
    """Each part of that name is looked at, for BentoML would download all that are links."""
    are_files = all(isinstance(part, UploadFile) for part in parts)
    if not are_files or len(parts) > 1 or (is_required and not parts):
        got = [part.filename if isinstance(part, UploadFile) else part for part in parts]
        raise invalid_field(name, got[0] if len(got) == 1 else got, "one picture as a file: PNG, JPEG or WebP")


async def _nothing_more() -> Message:
    return {"type": "http.disconnect"}
