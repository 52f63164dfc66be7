"""Several pictures for one request, all at once: each has the seed after that of the one before it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pydantic import TypeAdapter
from starlette.responses import Response

from entry.places import Make, Places, max_at_once
from entry.results import PictureResult
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.request.asked import Pictures
from sdxl.request.fields import MAX_SEED
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest

RESULTS = TypeAdapter(list[PictureResult])
Wanted = TypeVar("Wanted")
Made = TypeVar("Made")
Request = TypeVar("Request", GenerationRequest, RefineRequest, EditRequest)


def seeds_from(first: int | None, count: int) -> list[int]:
    """So many seeds; the first one is drawn if there is none, and 0 follows on the last that there is."""
    start = secrets.randbelow(MAX_SEED + 1) if first is None else first
    return [(start + index) % (MAX_SEED + 1) for index in range(count)]


def one_by_one(asked: Pictures, kind: type[Request]) -> list[Request]:
    """A request for each of the pictures that are asked for. Of one alone, the seed is drawn later."""
    fields = {name: getattr(asked, name) for name in kind.model_fields}
    seeds = [asked.seed] if asked.n == 1 else seeds_from(asked.seed, asked.n)
    return [kind(**{**fields, "seed": seed}) for seed in seeds]


async def answer_of(makes: Sequence[Make], places: Places) -> Response:
    """One picture's file; of several, a result for each as JSON (207). Raises RelayError if not one was made."""
    if len(makes) == 1:
        return (await makes[0]()).as_response()
    with places.request():
        arrived_s = asyncio.get_running_loop().time()
        results = await asyncio.gather(*(places.result(make, arrived_s) for make in makes))
    faults = [result.error for result in results if result.error]
    if len(faults) == len(results):
        raise RelayError.from_frame(faults[0].model_dump())
    text = await asyncio.to_thread(RESULTS.dump_json, list(results))
    return Response(text, 207, media_type="application/json")


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
