"""Room for requests for several pictures, lists among them, and for the pictures of theirs that are at work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from entry.answer import PictureFile
from entry.results import PictureResult, failed, made
from sdxl.config.settings import Settings
from sdxl.errors import LATE, RelayError
from sdxl.request.limits import GRACE_S, LIMITS

logger = logging.getLogger("bentoml.sdxl_relay")

Make = Callable[[], Awaitable[PictureFile]]


def max_at_once(settings: Settings) -> int:
    """Pictures at work of all of them together: half of what a runner holds, so that others find room beside them."""
    return max(1, settings.max_jobs // 2)


class Places:
    """One for all of the entry. Pictures that find no place wait in the order of their coming."""

    def __init__(self, settings: Settings) -> None:
        self._free = asyncio.Semaphore(max_at_once(settings))
        self._max_requests = settings.max_jobs
        self._requests = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Holds the place of a request for several pictures. Raises RelayError (429)."""
        if self._requests >= self._max_requests:
            raise RelayError(
                429,
                "queue_full",
                f"the queue is full: {self._requests} requests for several pictures wait",
                retry_after_s=5,
            )
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    @asynccontextmanager
    async def picture(self) -> AsyncGenerator[None, None]:
        """Holds a picture's place. Raises RelayError (504) if the request's time is over before there is one."""
        try:
            async with asyncio.timeout_at(LIMITS.get().deadline):
                await self._free.acquire()
        except TimeoutError:
            raise LATE from None
        try:
            yield
        finally:
            self._free.release()

    async def result(self, make: Make, arrived_s: float) -> PictureResult:
        """What becomes of one picture, which had come at `arrived_s` on the loop's clock. Raises nothing."""
        try:
            async with asyncio.timeout_at(LIMITS.get().deadline + GRACE_S / 2), self.picture():
                waited_ms = 1_000 * (asyncio.get_running_loop().time() - arrived_s)
                return made(await make(), waited_ms)
        except TimeoutError:
            return failed(LATE)
        except RelayError as error:
            return failed(error)
        except Exception:
            logger.exception("one of several pictures failed")
            return failed(RelayError(500, "internal", "the picture could not be made; the server is at fault"))
