"""Who sends a request's head or body too slowly is cut off: uvicorn would wait for ever."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message

from runners import http, server
from runners.http import ClientGone, read_body
from sdxl.errors import RelayError


class Connection:
    """As uvicorn's protocol has it."""

    def __init__(self, cycle: Any = None) -> None:
        self.cycle, self.closed = cycle, asyncio.Event()
        self.transport = SimpleNamespace(close=self.closed.set)


async def cut_off(monkeypatch: pytest.MonkeyPatch, *connections: Connection) -> None:
    """Looks at them for a while."""
    monkeypatch.setattr(server, "LOOK_S", 0.01)
    monkeypatch.setattr(server, "HEAD_PATIENCE_S", 0.1)
    looking = asyncio.create_task(server._cut_off_slow_heads(connections))
    await asyncio.sleep(0.3)
    looking.cancel()


def test_a_connection_without_a_head_is_closed_and_one_at_work_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        silent, kept = Connection(), Connection(SimpleNamespace(response_complete=True))
        working = Connection(SimpleNamespace(response_complete=False))
        await cut_off(monkeypatch, silent, kept, working)
        assert [each.closed.is_set() for each in (silent, kept, working)] == [True, True, False]

    asyncio.run(main())


def test_every_request_gives_a_kept_connection_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        busy = Connection(SimpleNamespace(response_complete=True))

        async def requests() -> None:
            for _ in range(6):
                await asyncio.sleep(0.04)
                busy.cycle = SimpleNamespace(response_complete=True)

        await asyncio.gather(cut_off(monkeypatch, busy), requests())
        assert not busy.closed.is_set()

    asyncio.run(main())


def body_of(*messages: tuple[float, Message]) -> bytes:
    """Reads a body whose parts come so many seconds after one another."""
    parts = list(messages)

    async def receive() -> Message:
        after_s, message = parts.pop(0)
        await asyncio.sleep(after_s)
        return message

    return asyncio.run(read_body({"content-length": "3"}, receive, 1_000))


def part(data: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def test_a_body_has_some_seconds_and_more_for_what_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_PATIENCE_S", 0.1)
    monkeypatch.setattr(http, "BODY_BYTES_PER_S", 100.0)
    assert body_of((0, part(b"ab", more=True)), (0.02, part(b"c", more=False))) == b"abc"
    with pytest.raises(RelayError, match="too slowly: 2 bytes") as slow:
        body_of((0, part(b"ab", more=True)), (0.3, part(b"c", more=False)))
    assert slow.value.status == 408
    assert body_of((0, part(b"a" * 50, more=True)), (0.3, part(b"c", more=False))) == b"a" * 50 + b"c"


def test_a_client_that_leaves_before_its_end() -> None:
    with pytest.raises(ClientGone):
        body_of((0, part(b"a", more=True)), (0, {"type": "http.disconnect"}))
