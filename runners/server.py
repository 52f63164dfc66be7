"""What uvicorn, which BentoML starts, leaves to us: an orderly end, and an end to senders that never finish."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import uvicorn

from runners.drain import Drain

LOOK_S = 1.0
HEAD_PATIENCE_S = 10.0


def look_after_server(
    server: uvicorn.Server, drain: Drain, give_up: Callable[[], Awaitable[object]] | None = None
) -> asyncio.Task[None]:
    """To be called on the event loop that serves, before it serves; the task is to be kept.

    `give_up` ends what is still at work when the time to drain is over.
    """
    drain.listen_for_sigterm(lambda: server.handle_exit(signal.SIGTERM, None), give_up)
    return asyncio.create_task(_cut_off_slow_heads(server.server_state.connections))


def running_server() -> uvicorn.Server:
    """The server of this process: its handler of SIGTERM gives it away, as long as that is its own."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    assert isinstance(server, uvicorn.Server)
    return server


def url_of(server: uvicorn.Server) -> str:
    """Where a server listens."""
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    host = {"0.0.0.0": "localhost", "::": "localhost"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if server.config.is_ssl else 'http'}://{host}:{port}"


async def _cut_off_slow_heads(connections: Collection[Any]) -> None:
    """Closes connections on which no request's head has come for long. uvicorn would wait for one for ever.

    `connections` are uvicorn's protocols; `cycle` is the last request that came on one.
    """
    since: dict[Any, tuple[object, float]] = {}  # the last request, and when it was first seen to be over
    while True:
        await asyncio.sleep(LOOK_S)
        now = asyncio.get_running_loop().time()
        idle = [each for each in connections if each.cycle is None or each.cycle.response_complete]
        before, since = since, {}
        for connection in idle:
            last, begun = before.get(connection, (connection.cycle, now))
            since[connection] = (last, begun) if last is connection.cycle else (connection.cycle, now)
            if now - since[connection][1] > HEAD_PATIENCE_S:
                connection.transport.close()
