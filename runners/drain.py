"""What a service does on SIGTERM: it refuses what is new, ends what it has accepted, and stops then."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import psutil

from sdxl.errors import RelayError

logger = logging.getLogger("bentoml.sdxl_relay")

LOOK_S = 0.1
STOPPING = RelayError(503, "stopping", "the server is stopping", retry_after_s=2)


class Drain:
    """Counts the requests of a service, and holds its end back until there are none, or for `grace_s` at most.

    Left to itself, uvicorn stops listening at once, so that new requests hang or are refused without an answer,
    and then waits for the open ones without a limit.
    """

    def __init__(self, grace_s: float, *, is_needed: Callable[[], bool] = lambda: False) -> None:
        """`is_needed` says that the service must stay though it has no requests."""
        self.grace_s = grace_s
        self.is_needed = is_needed
        self.has_begun = False
        self.is_over = asyncio.Event()  # the grace is over: what is still there must end now
        self.requests = 0
        self._is_hurried = False
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def request(self) -> Iterator[None]:
        """Counts one request."""
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    def listen_for_sigterm(
        self, stop_server: Callable[[], object], give_up: Callable[[], Awaitable[object]] | None = None
    ) -> None:
        """Takes SIGTERM over on the event loop that serves; `give_up` is called before the end if the grace is over.

        By SIGQUIT, it is over at once. A second SIGTERM means nothing: systemd sends one to every process of a service,
        and so does the process that started this one.
        """

        async def drain() -> None:
            try:
                async with asyncio.timeout(self.grace_s):
                    await self._until_idle()
            except TimeoutError:
                self.is_over.set()
                if give_up is not None:
                    await give_up()
            stop_server()

        def begin() -> None:
            if self.has_begun:
                return
            self.has_begun = True
            self._task = asyncio.create_task(drain())
            if self.requests and not self.is_needed():
                logger.warning(
                    "stopping: waiting for the requests at work (%d), for %g s at most;"
                    " Ctrl-C again, or SIGQUIT, stops at once",
                    self.requests,
                    self.grace_s,
                )

        def hurry() -> None:
            self._is_hurried = True
            begin()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, begin)
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, hurry)

    async def _until_idle(self) -> None:
        while True:
            if self._is_hurried:
                raise TimeoutError
            if not self.requests and not self.is_needed():
                return
            await asyncio.sleep(LOOK_S)


def entry_is_beside(entry: str) -> bool:
    """Whether the service named `entry` runs under the same `bentoml serve`.

    That sends SIGTERM to all of its services at once, and a runner without jobs may get one from a request that
    the entry has accepted: so it stays for as long as the entry does.
    """
    own = psutil.Process()
    parent = own.parent()
    siblings = parent.children() if parent is not None else []
    return any(_serves(process, entry) for process in siblings if process.pid != own.pid)


def _serves(process: psutil.Process, service: str) -> bool:
    try:
        return service in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return False
