"""Events: what a stream says of a request, and that leaving it ends the work."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import pytest

from entry import events as module
from entry.answer import PictureFile
from entry.events import HEARTBEAT, Event, as_server_sent, events
from entry.fleet.progress import Follower, Progress
from runners.frames import Frame, Kind
from sdxl.errors import LATE, RelayError

PICTURE = PictureFile(data=b"a file", media_type="image/png", width_px=8, height_px=8, seed=1, warnings={}, spent_ms={})
META: dict[str, Any] = {"place": None, "steps": 3, "after": 0}


def step(follower: Follower, number: int) -> None:
    follower.hear("base", Frame(kind=Kind.PROGRESS, meta={**META, "step": number}))


async def made(follower: Follower) -> PictureFile:
    for number in (1, 2, 3):
        step(follower, number)
    return PICTURE


def all_of(make: Any) -> list[Event]:
    async def main() -> list[Event]:
        return [event async for event in events(make)]

    return asyncio.run(main())


def test_progress_in_its_order_and_the_picture_last() -> None:
    told = all_of(made)
    assert [event.step for event in told if isinstance(event, Progress)] == [1, 2, 3]
    assert told[-1] is PICTURE


@pytest.mark.parametrize(
    ("error", "status"), [(LATE, 504), (RelayError(400, "no_step", "no"), 400), (RuntimeError("a bug"), 500)]
)
def test_an_error_is_the_last_event(error: Exception, status: int) -> None:
    async def fails(follower: Follower) -> PictureFile:
        step(follower, 1)
        raise error

    first, last = all_of(fails)
    assert isinstance(first, Progress)
    assert isinstance(last, RelayError)
    assert last.status == status
    assert "a bug" not in last.message


def test_a_heartbeat_while_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)

    async def slow(_: Follower) -> PictureFile:
        await asyncio.sleep(0.2)
        return PICTURE

    told = all_of(slow)
    assert told[-1] is PICTURE
    assert set(told[:-1]) == {None}
    assert len(told) > 2


def test_leaving_cancels_the_work() -> None:
    async def main() -> bool:
        cancelled = asyncio.Event()

        async def endless(follower: Follower) -> PictureFile:
            step(follower, 1)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return PICTURE

        async with aclosing(events(endless)) as told:
            await anext(told)
        async with asyncio.timeout(1):
            return await cancelled.wait()

    assert asyncio.run(main())


def test_events_as_they_are_sent() -> None:
    progress = Progress(stage="base", place=None, step=2, of=8, done=2, whole=10, eta_s=1.234)
    name, data = as_server_sent(progress).strip().split("\n")
    assert name == "event: progress"
    told = {"stage": "base", "step": 2, "of": 8, "share": 0.2, "eta_s": 1.23}
    assert json.loads(data.removeprefix("data: ")) == told
    assert as_server_sent(None) == HEARTBEAT
    assert as_server_sent(LATE).startswith("event: error\ndata: {")
    assert as_server_sent(PICTURE).endswith("\n\n")
