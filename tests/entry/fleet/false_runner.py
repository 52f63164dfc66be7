"""A runner that speaks the runners' protocol on an address of its own, and fails as a test wants it to.

What real runners do when they die or are cut off is in tests/service; here is what can't be made to happen at will.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import Literal

from aiohttp import web

from entry.fleet.metrics import CallMetrics
from entry.fleet.replica import Replica
from entry.fleet.stage import StageClient, Team
from entry.fleet.team import Asked
from runners.frames import Frame, Kind
from sdxl.handoff.identity import Identity
from sdxl.handoff.offer import Offer, OfferedModel, Status
from sdxl.request.settled import Card, Defaults
from tests.service.server import free_port

Behaviour = Literal["done", "full", "stopping", "silent", "cut", "no end", "bad request", "hangs before", "slow"]
IDENTITY = Identity(
    checkpoint="c" * 64, dtype="float32", backend="torch", handoff_version="1", schedule="{}", latent_scale=0.13
)


@cache
def call_metrics() -> CallMetrics:
    """A process can have them but once."""
    return CallMetrics(["base"])


def offer_of(*identities: Identity, names: Sequence[str] = ("sdxl",)) -> Offer:
    """A model for each name, which is what its identity says."""
    models = tuple(
        OfferedModel(
            name=name,
            file=f"{name}.safetensors",
            fingerprint=each.checkpoint,
            kind="base",
            schedule=each.schedule,
            latent_scale=each.latent_scale,
            card=Card(name=name, defaults=Defaults()),
            size_bytes=1,
        )
        for name, each in zip(names, identities, strict=True)
    )
    first = identities[0]
    return Offer(
        dtype=first.dtype,
        backend=first.backend,
        handoff_version=first.handoff_version,
        default=names[0],
        models=models,
    )


def whoever(stage: StageClient, model: str | None = None) -> Team:
    """All replicas that offer the model; of the default, only those whose identity is the usual one."""
    asked = Asked(model)

    def is_one(replica: Replica) -> bool:
        identity = asked.identity_of(replica)
        return identity is not None and (model is not None or identity == IDENTITY)

    return Team(model, lambda: [replica for replica in stage.replicas if is_one(replica)])


class FalseRunner:
    """`behaves` says what it does with each call in turn, and with all that come after the last."""

    def __init__(
        self, *behaves: Behaviour, identity: Identity = IDENTITY, work: float = 1.0, tokens: Sequence[str] = ()
    ) -> None:
        """It lets in who shows one of the tokens; without any, everybody."""
        self.behaves = list(behaves)
        self.tokens = tokens
        self.offer = offer_of(identity)
        self.says_offer: str | None = ""  # in place of the offer; None for nothing at all
        self.offers_told = self.renewed = 0
        self.next_offer: Offer | None = None  # once it has looked anew
        self.resident: tuple[str, ...] = ("sdxl",)
        self.load_s = 10.0
        self.room_bytes = 0
        self.work = work
        self.calls = 0
        self.headers: list[dict[str, str]] = []
        self.may_end = asyncio.Event()  # "done" waits for it
        self.may_end.set()
        self._is_over = asyncio.Event()

    @asynccontextmanager
    async def listening(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/offer", self._offer)
        app.router.add_post("/renew", self._renew)
        app.router.add_post("/run", self._run)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
        try:
            yield
        finally:
            self._is_over.set()
            self.may_end.set()
            await runner.cleanup()

    def _lets_in(self, request: web.Request) -> bool:
        return not self.tokens or request.headers.get("authorization") in [f"Bearer {token}" for token in self.tokens]

    async def _ready(self, request: web.Request) -> web.Response:
        status = Status(
            offer=self.offer.digest,
            resident=self.resident,
            load_s=self.load_s,
            seconds_per_work=1.0,
            room_bytes=self.room_bytes,
        )
        return web.json_response(status.model_dump() if self._lets_in(request) else {})

    async def _offer(self, _: web.Request) -> web.Response:
        if self.says_offer is None:
            await self._is_over.wait()
        self.offers_told += 1
        return web.json_response(text=self.says_offer or self.offer.model_dump_json())

    async def _renew(self, request: web.Request) -> web.Response:
        if not self._lets_in(request):
            return _error(401, "wrong_token", {})
        self.renewed += 1
        self.offer = self.next_offer or self.offer
        return await self._offer(request)

    async def _run(self, request: web.Request) -> web.StreamResponse:
        if not self._lets_in(request):
            return _error(401, "wrong_token", {})
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.calls += 1
        behaviour = self.behaves.pop(0) if len(self.behaves) > 1 else self.behaves[0]
        match behaviour:
            case "full":
                return _error(429, "queue_full", {"retry-after": "7"})
            case "stopping":
                return _error(503, "stopping", {"retry-after": "2"})
            case "slow":
                return _error(408, "slow_body", {})
            case "bad request":
                return _error(400, "invalid_field", {})
            case "hangs before":
                await self._is_over.wait()
        return await self._stream(request, behaviour)

    async def _stream(self, request: web.Request, behaviour: Behaviour) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        meta = {"work": self.work, "place": 0, "step": 0, "steps": 1, "after": 0}
        await stream.write(Frame(kind=Kind.ACCEPTED, meta=meta).encode())
        match behaviour:
            case "silent":
                await self._is_over.wait()
            case "cut":
                await stream.write(b"\x02\x00")
                assert request.transport is not None
                request.transport.abort()
            case "done":
                await self.may_end.wait()
                await stream.write(Frame(kind=Kind.RESULT, body=await request.read()).encode())
        await stream.write_eof()  # "no end": the stream ends, but without a result
        return stream


def _error(status: int, code: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"error": f"an error: {code}", "code": code}, status=status, headers=headers)


@asynccontextmanager
async def listening(*runners: FalseRunner) -> AsyncIterator[list[str]]:
    """Lets them all listen, on loopback addresses of their own and one port; their URLs."""
    port = free_port()
    hosts = [f"127.0.0.{2 + index}" for index in range(len(runners))]
    async with AsyncExitStack() as stack:
        for each, host in zip(runners, hosts, strict=True):
            await stack.enter_async_context(each.listening(host, port))
        yield [f"http://{host}:{port}" for host in hosts]
