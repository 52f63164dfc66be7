"""Whose contract a path belongs to: our own, OpenAI's (`/v1`) or AUTOMATIC1111's (`/sdapi`); each has its errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runners.http import ErrorResponse
from sdxl.errors import RelayError

OPENAI, AUTOMATIC1111 = "/v1/", "/sdapi/"
# Two headers and not one with commas, for browsers look only at the first scheme of each.
CHALLENGES = ('Basic realm="SDXL Relay", charset="UTF-8"', 'Bearer realm="SDXL Relay"')
# What stages complain of under the names of our own requests.
_OPENAI_NAMES = {"width": "size", "height": "size", "refiner_model": "refiner"}
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_answer(path: str, error: RelayError) -> ErrorResponse:
    """An error as clients of this path expect it."""
    if path.startswith(OPENAI):
        error = renamed(error, _OPENAI_NAMES)
        answer = ErrorResponse(error, openai_error(error))
    elif path.startswith(AUTOMATIC1111):
        answer = ErrorResponse(error, {**error.as_json(), "detail": error.message})
    else:
        answer = ErrorResponse(error)
    if error.status == 401:
        for challenge in CHALLENGES:
            answer.headers.append("www-authenticate", challenge)
    return answer


def openai_error(error: RelayError) -> dict[str, Any]:
    """The body of OpenAI's errors; those in a stream have it, too."""
    kind = "server_error" if error.status >= 500 else _OPENAI_TYPES.get(error.status, "invalid_request_error")
    error = renamed(error, _OPENAI_NAMES)
    return {"error": {"message": error.message, "type": kind, "param": error.field, "code": error.code}}


def renamed(error: RelayError, names: Mapping[str, str]) -> RelayError:
    """The error with the name that its field has in another contract."""
    if error.field is None or error.field not in names:
        return error
    name = names[error.field]
    message = f"{name}{error.message.removeprefix(error.field)}"
    return RelayError(error.status, error.code, message, field=name, got=error.got, retry_after_s=error.retry_after_s)
