"""One line of the log for each request, with its number and what was wrong with it: a middleware before all others.

BentoML's own line says neither, and shows a path as it was decoded, line breaks and all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runners.noted import NOTED, REQUEST_ID, Noted
from sdxl.error_codes import ErrorCode

logger = logging.getLogger("bentoml.access")

# Of each service: ours instead of BentoML's log, and of its metrics (see entry/http/metrics.py).
INSTEAD: dict[str, Any] = {"logging": {"access": {"enabled": False}}, "metrics": {"enabled": False}}
PROBES = frozenset({"/livez", "/readyz", "/healthz", "/health", "/metrics"})  # asked for every few seconds, by machines
MAX_CHARACTERS = 200


class Counts(Protocol):
    """What counts requests. It is not told of probes, nor of what browsers ask before they call."""

    def at_work(self, scope: Scope) -> AbstractContextManager[None]:
        """Counts a request until the block ends."""

    def answered(self, scope: Scope, noted: Noted, status: int, seconds: float) -> None:
        """Counts an answer, and after how many seconds it was there."""


class AccessLog:
    """The middleware. It keeps or makes the request's X-Request-Id, which the answer has, too."""

    def __init__(
        self,
        app: ASGIApp,
        is_asset: Callable[[str], bool] = lambda path: False,  # noqa: ARG005
        counts: Counts | None = None,
        secret: str | None = None,
    ) -> None:
        """`is_asset` tells the paths that need a line only if they fail; what follows `secret` in one is not told."""
        self.app, self.is_asset, self.counts, self.secret = app, is_asset, counts, secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the request, and tells of it when it is answered or was given up."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        noted = Noted.of(Headers(scope=scope))
        NOTED.set(noted)
        counts = None if scope["path"] in PROBES or scope["method"] == "OPTIONS" else self.counts
        begun_s = time.perf_counter()
        status, sent_bytes, is_over = 0, 0, False

        async def answer(message: Message) -> None:
            nonlocal status, sent_bytes
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = noted.request_id
            await send(message)
            if message["type"] == "http.response.body":
                sent_bytes += len(message.get("body", b""))
                if not message.get("more_body"):
                    end()

        def end() -> None:
            nonlocal is_over
            is_over, seconds = True, time.perf_counter() - begun_s
            if counts:
                counts.answered(scope, noted, status, seconds)
            self._tell(scope, noted, status, sent_bytes, seconds)

        try:
            with counts.at_work(scope) if counts else nullcontext():
                await self.app(scope, receive, answer)
        except Exception:
            status, noted.code = status or 500, noted.code or "internal"
            raise
        finally:
            if not is_over:  # a stream that was cut off, or work that was cancelled before its answer
                status, noted.code = status or 499, noted.code or "client_left"
                end()

    def _tell(self, scope: Scope, noted: Noted, status: int, sent_bytes: int, seconds: float) -> None:
        path = scope["path"]
        level = logging.WARNING if status >= 500 else logging.INFO
        if path in PROBES or (status < 400 and self.is_asset(path)):
            level = logging.DEBUG
        told = {
            "method": _shown(scope["method"]),
            "path": _shown(self._without_secret(path)),
            "status": status,
            "sent_bytes": sent_bytes,
            "duration_ms": round(1_000 * seconds, 1),
        }
        code = noted.code or (_code_of(status) if status >= 400 else "")
        client = ":".join(str(part) for part in scope.get("client") or ())
        more = {"key": noted.key, "code": code, "field": noted.field, "client": _shown(client)}
        logger.log(
            level,
            "%(method)s %(path)s %(status)d, %(sent_bytes)d bytes, %(duration_ms).1f ms",
            told,
            extra={**told, **{name: value for name, value in more.items() if value}},
        )

    def _without_secret(self, path: str) -> str:
        if self.secret is None or self.secret not in path:
            return path
        return f"{path.partition(self.secret)[0]}{self.secret}…"


def _code_of(status: int) -> ErrorCode:
    """Of an answer that is not ours, but BentoML's or Starlette's."""
    known: dict[int, ErrorCode] = {404: "unknown_path", 405: "wrong_method"}
    return known.get(status, "internal" if status >= 500 else "invalid_request")


def _shown(text: str) -> str:
    """What comes from outside, as it may stand in a line."""
    return quote(text[:MAX_CHARACTERS], safe="/:@!$&'()*+,;~[]") + ("…" if len(text) > MAX_CHARACTERS else "")
