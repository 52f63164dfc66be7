"""A service on SIGTERM: it ends what it has accepted, stays while it is needed, and gives up when the grace is over."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import pytest

from runners import drain as drains
from runners.drain import Drain


async def stopped(drain: Drain, meanwhile: Callable[[], Awaitable[None]]) -> list[str]:
    """What happens, in its order, after a SIGTERM to this process."""
    happened: list[str] = []
    is_stopped = asyncio.Event()

    async def give_up() -> None:
        happened.append("gave up")

    def stop() -> None:
        happened.append("stopped")
        is_stopped.set()

    drain.listen_for_sigterm(stop, give_up)
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.05)
        assert drain.has_begun
        await meanwhile()
        happened.append("meanwhile")
        async with asyncio.timeout(5):
            await is_stopped.wait()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGQUIT)
    return happened


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drains, "LOOK_S", 0.01)


def test_it_waits_for_the_requests_that_are_at_work() -> None:
    async def main() -> None:
        drain = Drain(grace_s=5)
        with drain.request():
            work = asyncio.create_task(stopped(drain, lambda: asyncio.sleep(0)))
            await asyncio.sleep(0.2)
            assert not work.done()
        assert await work == ["meanwhile", "stopped"]
        assert not drain.is_over.is_set()

    asyncio.run(main())


def test_it_stays_while_it_is_needed_though_it_has_no_request() -> None:
    async def main() -> None:
        needed = [True]
        drain = Drain(grace_s=5, is_needed=lambda: needed[0])

        async def entry_ends() -> None:
            await asyncio.sleep(0.1)
            needed[0] = False

        assert await stopped(drain, entry_ends) == ["meanwhile", "stopped"]

    asyncio.run(main())


def test_work_that_takes_longer_than_the_grace_is_given_up() -> None:
    async def main() -> None:
        drain = Drain(grace_s=0.2)
        with drain.request():
            assert await stopped(drain, lambda: asyncio.sleep(0)) == ["meanwhile", "gave up", "stopped"]
        assert drain.is_over.is_set()

    asyncio.run(main())


def test_a_second_sigterm_changes_nothing() -> None:
    async def main() -> None:
        async def again() -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.sleep(0.05)

        drain = Drain(grace_s=5)
        with drain.request():
            work = asyncio.create_task(stopped(drain, again))
            await asyncio.sleep(0.2)
        assert await work == ["meanwhile", "stopped"]

    asyncio.run(main())


def test_sigquit_ends_at_once_what_is_at_work() -> None:
    async def main() -> None:
        async def quit_now() -> None:
            os.kill(os.getpid(), signal.SIGQUIT)
            await asyncio.sleep(0.05)

        drain = Drain(grace_s=50)
        with drain.request():
            happened = await stopped(drain, quit_now)
        assert happened == ["gave up", "stopped", "meanwhile"]
        assert drain.is_over.is_set()

    asyncio.run(main())
