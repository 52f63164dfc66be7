"""One line of the log for each request, with its number and what was wrong with it: a middleware before all others.

BentoML's own line says neither, and shows a path as it was decoded, line breaks and all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runners.noted import NOTED, REQUEST_ID, Noted

logger = logging.getLogger("bentoml.access")

INSTEAD = {"access": {"enabled": False}}  # of BentoML's: the option `logging` of each service

PROBES = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})  # asked for every few seconds, by machines
MAX_CHARACTERS = 200
Ended = Callable[[Scope, Noted, int, float], object]
"""Is told of each request but probes: how it was answered, and after how many seconds."""


class AccessLog:
    """The middleware. It keeps or makes the request's X-Request-Id, which the answer has, too."""

    def __init__(
        self,
        app: ASGIApp,
        is_asset: Callable[[str], bool] = lambda path: False,  # noqa: ARG005
        ended: Ended = lambda scope, noted, status, seconds: None,  # noqa: ARG005
    ) -> None:
        """`is_asset` tells the paths that need a line only if they fail."""
        self.app, self.is_asset, self.ended = app, is_asset, ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the request, and tells of it when it is answered or was given up."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        noted = Noted.of(Headers(scope=scope))
        NOTED.set(noted)
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
            is_over = True
            self._tell(scope, noted, status, sent_bytes, time.perf_counter() - begun_s)

        try:
            await self.app(scope, receive, answer)
        except Exception:
            status, noted.code = status or 500, noted.code or "internal"
            raise
        finally:
            if not is_over:  # a stream that was cut off, say
                noted.code = noted.code or "client_left"
                end()

    def _tell(self, scope: Scope, noted: Noted, status: int, sent_bytes: int, seconds: float) -> None:
        path = scope["path"]
        if path in PROBES:
            level = logging.DEBUG
        else:
            self.ended(scope, noted, status, seconds)
            level = logging.WARNING if status >= 500 else logging.INFO
            if status < 400 and self.is_asset(path):
                level = logging.DEBUG
        told = {
            "method": _shown(scope["method"]),
            "path": _shown(path),
            "status": status,
            "sent_bytes": sent_bytes,
            "duration_ms": round(1_000 * seconds, 1),
        }
        client = ":".join(str(part) for part in scope.get("client") or ())
        more = {"key": noted.key, "code": noted.code, "field": noted.field, "client": _shown(client)}
        logger.log(
            level,
            "%(method)s %(path)s %(status)d, %(sent_bytes)d bytes, %(duration_ms).1f ms",
            told,
            extra={**told, **{name: value for name, value in more.items() if value}},
        )


def _shown(text: str) -> str:
    """What comes from outside, as it may stand in a line."""
    return quote(text[:MAX_CHARACTERS], safe="/:@!$&'()*+,;~[]") + ("…" if len(text) > MAX_CHARACTERS else "")
