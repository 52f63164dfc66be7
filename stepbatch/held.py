"""The jobs that an engine holds, from their submission to their end."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from stepbatch.errors import DeadlinePassed, EngineStopped, QueueFull
from stepbatch.failure import Failure, attempt
from stepbatch.job import Job, Phase
from stepbatch.observer import Observer, Outcome

logger = logging.getLogger(__name__)


class HeldJobs:
    """At most `max_jobs`, in order of arrival, none ended. All methods may be called from any thread."""

    def __init__(
        self, max_jobs: int, observer: Observer, seconds: Callable[[float], float], clock: Callable[[], float]
    ) -> None:
        """`seconds` says how long so much work takes, in the unit of `Job.remaining_work`; `clock` is in seconds."""
        self._max_jobs = max_jobs
        self._observer = observer
        self._seconds = seconds
        self._clock = clock
        self._changed = threading.Condition()  # guards what follows
        self._jobs: list[Job[Any]] = []
        self._is_closed = False
        self._ended: Counter[Outcome] = Counter()
        self._is_woken = False
        self._worked_at = 0.0  # the last end of a piece of work, or else the first job's coming

    def take(self, job: Job[Any]) -> None:
        """Hold the job. Raises QueueFull or EngineStopped, and ValueError for a job that was submitted before."""
        with self._changed:
            if self._is_closed:
                raise EngineStopped("the engine is stopped and takes no more jobs")
            if len(self._jobs) >= self._max_jobs:
                work = sum(held.remaining_work for held in self._jobs)
                raise QueueFull(waiting=self._waiting(), max_jobs=self._max_jobs, retry_after_s=self._seconds(work))
            if job in self._jobs or job.phase is Phase.ENDED:
                raise ValueError("a job is submitted once; make a new one")
            job.submitted_at = self._clock()
            if not self._jobs:
                self._worked_at = job.submitted_at
            self._jobs.append(job)
            self.tell()
            self.wake()

    def wait(self, at_most_s: float | None) -> bool:
        """Block until there are jobs, or so long; whether the engine is to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_closed, at_most_s)
            return not self._is_closed

    def rest(self, at_most_s: float) -> None:
        """Block while no job can be worked on: until a job comes or `wake` is called, but only so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_woken or self._is_closed, at_most_s)
            self._is_woken = False
            self._worked_at = self._clock()  # the engine is not stuck

    def wake(self, _: object = None) -> None:
        """End the rest; of the next one, if there is none."""
        with self._changed:
            self._is_woken = True
            self._changed.notify()

    def close(self) -> None:
        """Take no more."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def all(self) -> list[Job[Any]]:
        """Those held now."""
        with self._changed:
            return list(self._jobs)

    def end(self, job: Job[Any], outcome: object) -> None:
        """Free the job's place, then resolve its future (unless cancelled) with its result or Failure.

        Never under the lock: a future's callbacks may submit other jobs.
        """
        # From here on the future cannot be cancelled any more, or it was before.
        is_wanted = job.future.set_running_or_notify_cancel()
        ending = _ending(outcome) if is_wanted else "cancelled"
        with self._changed:
            job.end()
            self._jobs.remove(job)
            self._ended[ending] += 1
            self.tell()
        self._observer.ended(job, ending)
        if is_wanted and isinstance(attempt(_resolve, job.future, outcome), Failure):
            logger.error("a callback of a job's future raised an error that is no Exception")

    def tell(self) -> None:
        """Let the observer know how many there are."""
        with self._changed:
            self._observer.jobs_held(*self.counts)

    @property
    def counts(self) -> tuple[int, int]:
        """How many are not prepared yet, and how many are."""
        with self._changed:
            waiting = self._waiting()
            return waiting, len(self._jobs) - waiting

    @property
    def ended(self) -> Counter[Outcome]:
        """How many have ended in which way; a job counts before its future is resolved."""
        with self._changed:
            return self._ended.copy()

    def worked(self) -> None:
        """A piece of work has come to its end."""
        with self._changed:
            self._worked_at = self._clock()

    @property
    def stuck_s(self) -> float:
        """For how long there have been jobs without an end to any piece of work."""
        with self._changed:
            return self._clock() - self._worked_at if self._jobs else 0.0

    def _waiting(self) -> int:
        return sum(job.phase is Phase.PREPARE for job in self._jobs)


def _ending(outcome: object) -> Outcome:
    if not isinstance(outcome, Failure):
        return "done"
    return "late" if isinstance(outcome.error, DeadlinePassed) else "failed"


def _resolve(future: Future[Any], outcome: object) -> None:
    if isinstance(outcome, Failure):
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome)
