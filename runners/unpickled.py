"""Keeps pickle off every socket of a runner: BentoML would load what anybody sends."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send


def refuse_pickle(service: Any) -> None:
    """Puts the middleware before a BentoML service."""
    service.add_asgi_middleware(RefusePickle)


class RefusePickle:
    """A pure ASGI middleware that answers 415 to any content type with "pickle" in it, or none at all.

    BentoML itself refuses pickle only in the service that it was told to serve; on the sockets between the
    services of one host, and under `start-http-server`, it would unpickle any body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what is not pickle."""
        if scope["type"] == "http" and _is_pickle(scope):
            answer = JSONResponse({"error": "pickled bodies are refused", "code": "pickle_refused"}, 415)
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _is_pickle(scope: Scope) -> bool:
    return any(name.lower() == b"content-type" and b"pickle" in value.lower() for name, value in scope["headers"])
