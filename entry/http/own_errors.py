"""Errors of BentoML, Starlette and FastAPI in the form of our own, with a code."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from entry.http.contracts import error_answer
from entry.http.paths import no_such_path
from runners.access_log import PROBES
from runners.http import ErrorResponse
from runners.noted import NOTED
from sdxl.error_codes import ErrorCode
from sdxl.errors import RelayError

logger = logging.getLogger("bentoml.sdxl_relay")

CODES: dict[int, ErrorCode] = {404: "not_found", 503: "runner_unavailable", 504: "timeout"}


class OwnErrors:
    """Holds an error back that has none of our codes, and sends ours in its place; answers if the app fails."""

    def __init__(self, app: ASGIApp, known: Iterable[str]) -> None:
        """`known` are paths that a client may have meant."""
        self._app, self._known = app, known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app."""
        if scope["path"] in PROBES:  # their answers have a form of their own: /readyz says with its 503 what is missing
            await self._app(scope, receive, send)
            return
        held: Message | None = None
        body = bytearray()
        has_begun = has_ended = False

        async def answer(message: Message) -> None:
            nonlocal held, has_begun, has_ended
            if message["type"] == "http.response.start" and message["status"] >= 400 and not _is_ours():
                held = message
                return
            has_begun = True
            is_last = message["type"] == "http.response.body" and not message.get("more_body")
            if held is None:
                await send(message)
            else:
                body.extend(message.get("body", b""))
                if is_last:
                    await self._answer(scope, held, bytes(body))(scope, receive, send)
            has_ended = has_ended or is_last

        try:
            await self._app(scope, receive, answer)
        except Exception:
            logger.exception("a request failed")
            if not has_begun:
                error = RelayError(500, "internal", "the request failed; the server is at fault")
                await error_answer(scope["path"], error)(scope, receive, send)
            elif not has_ended:
                raise  # the connection is cut, so that the client knows

    def _answer(self, scope: Scope, start: Message, body: bytes) -> ErrorResponse:
        path, status = scope["path"], start["status"]
        said = _json(body)
        if {"error", "code"} <= said.keys():  # ours, which BentoML has kept
            return error_answer(path, RelayError.from_frame({**said, "status": status}))
        message = said.get("error")
        if status == 405:
            return wrong_method(path, scope["method"], Headers(raw=start["headers"]).get("allow", ""))
        if status == 404 and not isinstance(message, str):
            return error_answer(path, no_such_path(path, self._known))
        code = CODES.get(status, "internal" if status >= 500 else "invalid_request")
        return error_answer(path, RelayError(status, code, str(message or f"the request was refused ({status})")))


def wrong_method(path: str, method: str, allowed: str) -> ErrorResponse:
    """A 405; `allowed` is its header Allow."""
    answer = error_answer(path, RelayError(405, "wrong_method", f"{path}: got {method[:20]}; allowed: {allowed}"))
    answer.headers["allow"] = allowed
    return answer


def _is_ours() -> bool:
    noted = NOTED.get()
    return noted is not None and bool(noted.code)


def _json(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
