"""Long work that nobody waits for any more ends early."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from stepbatch.job import Job


class Interrupt:
    """Tells the model when all jobs of the piece of work in hand are cancelled, on the thread that cancels the last."""

    def __init__(self, end_early: Callable[[bool], None]) -> None:
        """`end_early(True)` lets a call under way raise if it can; `end_early(False)` comes when that is over."""
        self._end_early = end_early
        self._lock = threading.Lock()  # guards what follows
        self._jobs: Sequence[Job[Any]] = ()
        self.has_come = False
        """Whether the latest piece of work was told to end."""

    @contextmanager
    def during(self, jobs: Sequence[Job[Any]]) -> Iterator[None]:
        """A piece of work for these jobs."""
        with self._lock:
            self._jobs, self.has_come = jobs, False
        self.look()
        try:
            yield
        finally:
            with self._lock:
                self._jobs = ()
                if self.has_come:
                    self._end_early(False)

    def look(self, _: object = None) -> None:
        """After a job's future is done, for which this is a callback."""
        with self._lock:
            if self._jobs and not self.has_come and all(job.future.cancelled() for job in self._jobs):
                self.has_come = True
                self._end_early(True)
