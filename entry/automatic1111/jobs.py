"""The txt2img and img2img jobs at work in this entry: how far they are, and their end when they are interrupted.

AUTOMATIC1111 has one user. Here, those who show the same API key are one: they see each other's progress and
interrupt each other's jobs, and nobody else's. Without keys, all are one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from entry.answer import PictureFile
from entry.fleet.progress import Follower, Progress
from entry.several import all_of
from sdxl.config.settings import Settings

PREVIEWS = 10
One = Callable[[int, Follower], Awaitable[PictureFile]]
"""Makes the picture of an index."""


@dataclass(eq=False)
class Job:
    """One request's pictures."""

    name: str  # txt2img or img2img
    count: int
    begun: float = field(default_factory=time.time)
    preview: NDArray[np.uint8] | None = None  # of the first picture, [height/8, width/8, 3]
    interrupted: asyncio.Event = field(default_factory=asyncio.Event)
    made: dict[int, PictureFile] = field(default_factory=dict)
    _told: dict[int, Progress] = field(default_factory=dict)

    def follower(self, index: int) -> Follower:
        """For the picture of this index."""
        return Follower(lambda progress: self._hear(index, progress), previews=0 if index else PREVIEWS)

    def _hear(self, index: int, progress: Progress) -> None:
        self._told[index] = progress
        if progress.preview is not None:
            self.preview = progress.preview

    @property
    def share(self) -> float:
        """0 to 1, over all pictures."""
        return sum(progress.share for progress in self._told.values()) / self.count

    @property
    def eta_s(self) -> float:
        """At the pace so far, queueing included; 0 before there is one."""
        return (time.time() - self.begun) * (1 / self.share - 1) if self.share else 0.0

    @property
    def steps(self) -> tuple[int, int]:
        """Done and in all, of the first picture."""
        first = self._told.get(0)
        return (0, 0) if first is None else (first.done, first.whole)

    async def make(self, one: One, settings: Settings) -> Sequence[PictureFile]:
        """All pictures, in their order; of a job that is interrupted, those that are finished."""

        async def made(index: int) -> None:
            self.made[index] = await one(index, self.follower(index))

        working = asyncio.ensure_future(all_of(made, range(self.count), settings))
        interrupted = asyncio.ensure_future(self.interrupted.wait())
        try:
            await asyncio.wait((working, interrupted), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            working.cancel()
            interrupted.cancel()
        return [self.made[index] for index in sorted(self.made)]


class Jobs:
    """All of this entry's, by who asked for them."""

    def __init__(self) -> None:
        self._running: dict[str, list[Job]] = {}

    @contextmanager
    def running(self, caller: str, name: str, count: int) -> Iterator[Job]:
        """A job, for as long as it is at work."""
        job = Job(name, count)
        self._running.setdefault(caller, []).append(job)
        try:
            yield job
        finally:
            self._running[caller].remove(job)
            if not self._running[caller]:
                del self._running[caller]

    def latest(self, caller: str) -> Job | None:
        """The job of the caller's that came last."""
        jobs = self._running.get(caller)
        return jobs[-1] if jobs else None

    def interrupt(self, caller: str) -> None:
        """Ends all of the caller's."""
        for job in self._running.get(caller, ()):
            job.interrupted.set()
