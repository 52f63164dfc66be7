"""Sends the work and times the answers: at given times (open loop), or by a number of clients (closed loop)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import aiohttp
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.load_arrivals import Arrival, Work
from benchmarks.load_contenders import Contender


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one request. Times are in seconds from the start of the run."""

    work: Work
    due_s: float
    sent_s: float
    done_s: float
    status: int  # 0 if there was no answer
    body: bytes
    server_timing: str = ""  # the header, of this server's answers

    @property
    def latency_s(self) -> float:
        """From when the request was due, so that a slow client cannot hide a slow server."""
        return self.done_s - self.due_s

    @property
    def phases_s(self) -> dict[str, float]:
        """Where the server's time went: the phases of its Server-Timing header."""
        phases = (phase.split(";dur=") for phase in self.server_timing.split(", "))
        return {name: float(ms) / 1000 for name, ms in phases}


async def open_loop(url: str, contender: Contender, arrivals: Sequence[Arrival]) -> list[Answer]:
    """Sends each request at its time, whatever has been answered by then."""
    async with _session() as session:
        started = time.perf_counter()

        async def request(arrival: Arrival) -> Answer:
            await asyncio.sleep(started + arrival.at_s - time.perf_counter())
            return await _ask(session, url, contender, arrival.work, started, due_s=arrival.at_s)

        return await asyncio.gather(*map(request, arrivals))


async def closed_loop(url: str, contender: Contender, work: Sequence[Work], clients: int) -> list[Answer]:
    """Each client sends its next request when it has the answer to its last. The answers are in the work's order."""
    async with _session() as session:
        started = time.perf_counter()
        places = asyncio.Semaphore(clients)

        async def request(one: Work) -> Answer:
            async with places:
                return await _ask(session, url, contender, one, started, due_s=time.perf_counter() - started)

        return await asyncio.gather(*map(request, work))


def pixels(contender: Contender, answer: Answer) -> NDArray[np.uint8]:
    """The picture, uint8 [height, width, 3]. Raises ValueError or OSError if it is none of the right size."""
    if answer.status != 200:
        raise ValueError(f"status {answer.status}: {answer.body[:200]!r}")
    picture = Image.open(BytesIO(contender.picture(answer.body)), formats=["png"])
    if picture.size != (answer.work.size_px, answer.work.size_px):
        raise ValueError(f"a picture of {picture.size}, wanted were {answer.work.size_px} pixels")
    return np.asarray(picture.convert("RGB"))


def fault(contender: Contender, answer: Answer) -> str | None:
    """Why the answer is not the picture that was asked for."""
    try:
        pixels(contender, answer)
    except (ValueError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def _session() -> aiohttp.ClientSession:
    # force_close: a kept connection would race with the server's closing it.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))


async def _ask(
    session: aiohttp.ClientSession, url: str, contender: Contender, work: Work, started: float, due_s: float
) -> Answer:
    sent_s = time.perf_counter() - started
    timing = ""
    try:
        async with session.post(f"{url}/generate", json=contender.request(work)) as response:
            status, body = response.status, await response.read()
            timing = response.headers.get("server-timing", "")
    except aiohttp.ClientError as error:
        status, body = 0, repr(error).encode()
    done_s = time.perf_counter() - started
    return Answer(work=work, due_s=due_s, sent_s=sent_s, done_s=done_s, status=status, body=body, server_timing=timing)
