"""Who may enter a runner, with how much, and until when: a middleware before BentoML.

BentoML refuses pickle only in the service that it was told to serve; on the sockets between the services of one
host, and under `start-http-server`, it would load what anybody sends. And it asks nobody who they are.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from runners.access_log import PROBES, AccessLog
from runners.drain import STOPPING, Drain, entry_is_beside
from runners.gauges import published
from runners.http import CLIENT_GONE, ClientGone, ErrorResponse, read_body, replay
from sdxl.config.settings import ENTRY_NAME, Settings
from sdxl.errors import RelayError
from sdxl.handoff.offer import Offer, Status

READY, ALIVE = "/readyz", "/livez"
OFFER, RENEW = ("GET", "/offer"), ("POST", "/renew")
HOPELESS = 10.0  # times that the engine may take for one piece of work


class Door:
    """A runner's: what it asks of callers, and whether it still takes new ones."""

    def __init__(self, settings: Settings, max_bytes: Mapping[str, int]) -> None:
        """`max_bytes` of a body for each path that takes one."""
        self._authorizations = [f"Bearer {token.get_secret_value()}".encode() for token in settings.runner_token]
        self._is_open = settings.runner_open
        self._max_requests = 2 * settings.max_jobs  # bodies under way, and jobs; more than that wait for nothing
        self.max_bytes = max_bytes
        self.drain = Drain(settings.drain_s, is_needed=partial(entry_is_beside, ENTRY_NAME))
        self.status: Callable[[], Status] | None = None
        self.offer: Callable[[], Offer] | None = None
        self.renew: Callable[[], None] = lambda: None
        """Looks for models that have come or gone."""
        self.is_stuck: Callable[[float], bool] = lambda times: False  # noqa: ARG005
        """Whether the engine has been at one piece of work for too long, or for so many times that."""

    def check_caller(self, scope: Scope) -> None:
        """Raises RelayError: 401 without a token, 403 where there is none and the caller is on another machine."""
        if self._authorizations:
            given = Headers(scope=scope).get("authorization", "").encode()
            if not any([hmac.compare_digest(given, each) for each in self._authorizations]):  # noqa: C419 (all are)
                raise RelayError(401, "wrong_token", "the runner asks for SDXL_RUNNER_TOKEN as a bearer token")
        elif not self._is_open and not _is_local(scope):
            raise RelayError(
                403,
                "not_local",
                "without SDXL_RUNNER_TOKEN, the runner serves only its own machine (all, with SDXL_RUNNER_OPEN=true)",
            )

    def check_room(self) -> None:
        """Raises RelayError: 503 once the runner is to stop, 429 if it holds too many requests."""
        if self.drain.has_begun and not self.drain.is_needed():
            raise STOPPING
        if self.drain.requests >= self._max_requests:
            raise RelayError(429, "queue_full", "the runner holds too many requests", retry_after_s=2)

    def readiness(self, scope: Scope) -> JSONResponse:
        """Whether the runner takes jobs; to those who may send it jobs, also what it is."""
        try:
            self.check_room()
            self._check_engine(1)
            self.check_caller(scope)
        except RelayError as error:
            return ErrorResponse(error) if error.status in (429, 503) else JSONResponse({})
        return JSONResponse(None if self.status is None else self.status().model_dump())

    async def answer(self, scope: Scope) -> Response | None:
        """What the entry asks beside jobs: what there is, and to look for it anew; None for all else."""
        asked = scope["method"], scope["path"]
        if self.offer is None or asked not in (OFFER, RENEW):
            return None
        if asked == RENEW:
            await asyncio.to_thread(self.renew)
        return Response(self.offer().model_dump_json(), media_type="application/json")

    def liveness(self) -> JSONResponse:
        """Whether it may yet become ready by itself."""
        try:
            self._check_engine(HOPELESS)
        except RelayError as error:
            return ErrorResponse(error)
        return JSONResponse({})

    def _check_engine(self, times: float) -> None:
        if self.is_stuck(times):
            raise RelayError(503, "stuck", "the engine has been at one piece of work for too long")


class Doorkeeper:
    """The middleware."""

    def __init__(self, app: ASGIApp, door: Door) -> None:
        self.app, self.door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what may enter, with its body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self._enter(scope, receive, send)
        except RelayError as error:
            await ErrorResponse(error)(scope, receive, send)
        except ClientGone:
            await CLIENT_GONE(scope, receive, send)

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        _refuse_pickle(scope)
        path = scope["path"]
        if scope["method"] in ("GET", "HEAD") and path in PROBES:
            if path == READY:
                await self.door.readiness(scope)(scope, receive, send)
                return
            if path == ALIVE:
                await self.door.liveness()(scope, receive, send)
                return
            if path == "/metrics":
                await published(scope, receive, send)
                return
            await self.app(scope, receive, send)
            return
        self.door.check_caller(scope)
        if (answer := await self.door.answer(scope)) is not None:
            await answer(scope, receive, send)
            return
        await self._find_room(scope, receive)
        with self.door.drain.request():
            body = await self._body(scope, receive)
            await self.app(scope, replay(body, then=receive), send)

    async def _find_room(self, scope: Scope, receive: Receive) -> None:
        """Refuses a request only when it has come as a whole: else its sender may see a reset, and no answer."""
        try:
            self.door.check_room()
        except RelayError:
            await self._body(scope, receive)
            raise

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        return await read_body(Headers(scope=scope), receive, self.door.max_bytes.get(scope["path"], 0))


def guard(service: Any, door: Door) -> None:
    """Puts the middleware before a BentoML service, and the log of requests before that."""
    service.add_asgi_middleware(AccessLog)
    service.add_asgi_middleware(Doorkeeper, door=door)


def _refuse_pickle(scope: Scope) -> None:
    if any(name.lower() == b"content-type" and b"pickle" in value.lower() for name, value in scope["headers"]):
        raise RelayError(415, "pickle_refused", "pickled bodies are refused")


def _is_local(scope: Scope) -> bool:
    """Whether the caller is on this machine: over a UNIX socket, which has no port, or by loopback.

    Told by the connection's own end of it: the caller's address may be what a header says.
    """
    server = scope.get("server")
    return server is None or server[1] is None or ipaddress.ip_address(server[0]).is_loopback
