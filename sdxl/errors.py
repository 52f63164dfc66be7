"""What can go wrong with a request, as the client gets to know it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from sdxl.error_codes import ErrorCode

SHOWN_CHARACTERS = 80


class RelayError(Exception):
    """A fault with an HTTP status. `code` is a stable word for programs, the message is for people."""

    def __init__(
        self,
        status: int,
        code: ErrorCode,
        message: str,
        *,
        field: str | None = None,
        got: object = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.field, self.got, self.retry_after_s = field, got, retry_after_s

    def as_json(self) -> dict[str, Any]:
        """The body of the answer, and of an error frame between the services."""
        named = {} if self.field is None else {"field": self.field, "got": self.got}
        return {"error": self.message, "code": self.code, **named}

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}

    def as_frame(self) -> dict[str, Any]:
        """`as_json` with what an HTTP answer says in its status line and headers."""
        return {**self.as_json(), "status": self.status, "retry_after_s": self.retry_after_s}

    @classmethod
    def from_frame(cls, frame: Mapping[str, Any]) -> RelayError:
        """The error that a runner has sent by `as_frame`."""
        return cls(
            frame["status"],
            frame["code"],
            frame["error"],
            field=frame.get("field"),
            got=frame.get("got"),
            retry_after_s=frame.get("retry_after_s"),
        )


LATE = RelayError(504, "timeout", "the request was not done in time", retry_after_s=5)


def invalid_field(field: str, got: object, allowed: str) -> RelayError:
    """A 400 for one field: its name, what came, and what is allowed."""
    return RelayError(
        400,
        "invalid_field",
        f"{field}: got {shorten(got)}; allowed: {allowed}",
        field=field,
        got=shorten(got),
    )


def invalid_request(error: ValidationError) -> RelayError:
    """The first of pydantic's complaints about a request, as a 400."""
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return RelayError(400, "invalid_json", f"the body is not valid JSON: {first['msg']}")
    field = ".".join(str(part) for part in first["loc"]) or "body"
    if first["type"] == "missing":
        return RelayError(400, "missing_field", f"{field}: got nothing; the field is required", field=field)
    if first["type"] == "extra_forbidden":
        return RelayError(
            400, "unknown_field", f"{field}: there is no such field", field=field, got=shorten(first["input"])
        )
    return invalid_field(field, first["input"], first["msg"].removeprefix("Input should be "))


def shorten(value: object) -> str:
    """A value as a message may show it: JSON, or how long a text is that would not fit."""
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return f"a text of {len(value)} characters"
    shown = json.dumps(value, default=repr, ensure_ascii=False)
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}…"
