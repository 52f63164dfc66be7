"""Several pictures for one request, all at once: each has the seed after that of the one before it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from entry.batch import max_at_once
from sdxl.config.settings import Settings
from sdxl.request.fields import MAX_SEED

Wanted = TypeVar("Wanted")
Made = TypeVar("Made")


def seeds_from(first: int | None, count: int) -> list[int]:
    """So many seeds; the first one is drawn if there is none, and 0 follows on the last that there is."""
    start = secrets.randbelow(MAX_SEED + 1) if first is None else first
    return [(start + index) % (MAX_SEED + 1) for index in range(count)]


async def all_of(make: Callable[[Wanted], Awaitable[Made]], wanted: Sequence[Wanted], settings: Settings) -> list[Made]:
    """What becomes of each, in their order. The first failure ends the others, and is raised.

    No more of them are at work at once than of lists, for a stage's whole queue may be less than one request asks for.
    """
    places = asyncio.Semaphore(max_at_once(settings))

    async def one(item: Wanted) -> Made:
        async with places:
            return await make(item)

    works = [asyncio.ensure_future(one(item)) for item in wanted]
    try:
        return await asyncio.gather(*works)
    finally:
        for work in works:
            work.cancel()
