"""The engine: one thread that owns the model and works on whatever jobs the policy chooses."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

import torch

from stepbatch.errors import DeadlinePassed, EngineStopped, QueueFull
from stepbatch.failure import Failure, attempt
from stepbatch.job import Job, Phase
from stepbatch.observer import Observer, Outcome, Silent
from stepbatch.pace import Pace
from stepbatch.policy import Policy
from stepbatch.stats import Stats
from stepbatch.switch import Switch
from stepbatch.tick import KeptStack, UNet, tick

logger = logging.getLogger(__name__)


class Engine:
    """Runs denoising jobs together on one thread of its own; as a context manager it starts and stops.

    Futures are resolved on the engine's thread (a cancelled one on the thread that cancels), never under a
    lock: their callbacks may call `submit`, but neither they nor a job's callables may call `stop`.
    """

    def __init__(
        self,
        unet: UNet,
        policy: Policy,
        *,
        max_jobs: int,
        seconds_per_work: float,
        observer: Observer | None = None,
        switch: Callable[[Any], None] = lambda _: None,
        after_tick: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`switch` gives the model a job's adapters, before its preparation and before a tick, where they change.

        `after_tick` is called when a tick's work has been given to the device (stepbatch/lead.py).
        """
        self._unet = unet
        self._stack = KeptStack()
        self._policy = policy
        self._max_jobs = max_jobs
        self._pace = Pace(seconds_per_work)
        self._observer = observer or Silent()
        self._after_tick = after_tick
        self._switch = Switch(switch)
        self._clock = clock  # in seconds
        # A daemon, so that an engine which nobody stopped does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="stepbatch-engine", daemon=True)
        self._changed = threading.Condition()  # guards what follows
        self._jobs: list[Job[Any]] = []  # in order of arrival, none ended
        self._is_stopped = False
        self._counts: Counter[str] = Counter()
        self._worked_at = 0.0  # the last end of a piece of work, or else the first job's coming, on the clock

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to work, also on the jobs submitted before. Raises RuntimeError the second time."""
        self._thread.start()

    def submit(self, job: Job[Any]) -> None:
        """Take the job in; from any thread.

        Raises QueueFull or EngineStopped (the job may be submitted again, there or elsewhere), and ValueError
        for a job that was submitted before.
        """
        with self._changed:
            if self._is_stopped:
                raise EngineStopped("the engine is stopped and takes no more jobs")
            if len(self._jobs) >= self._max_jobs:
                work = sum(job.remaining_work for job in self._jobs)
                raise QueueFull(
                    waiting=self._waiting(), max_jobs=self._max_jobs, retry_after_s=self._pace.seconds(work)
                )
            if job in self._jobs or job.phase is Phase.ENDED:
                raise ValueError("a job is submitted once; make a new one")
            job.submitted_at = self._clock()
            if not self._jobs:
                self._worked_at = job.submitted_at
            self._jobs.append(job)
            self._tell_jobs_held()
            self._changed.notify()

    def stop(self) -> None:
        """Let the tick, prepare or finish in hand end, then fail all other jobs with EngineStopped."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
        self._fail_all()

    @property
    def stats(self) -> Stats:
        """A snapshot; a job is counted as ended before its future is resolved."""
        with self._changed:
            waiting = self._waiting()
            return Stats(
                ticks=self._counts["ticks"],
                rows=self._counts["rows"],
                done=self._counts["done"],
                cancelled=self._counts["cancelled"],
                failed=self._counts["failed"],
                late=self._counts["late"],
                waiting=waiting,
                running=len(self._jobs) - waiting,
            )

    @property
    def stuck_s(self) -> float:
        """For how long there have been jobs without an end to any piece of work."""
        with self._changed:
            return self._clock() - self._worked_at if self._jobs else 0.0

    def place(self, job: Job[Any]) -> int | None:
        """How many jobs that came before this one are not prepared yet; None once it is itself."""
        with self._changed:
            if job not in self._jobs or job.phase is not Phase.PREPARE:
                return None
            before = self._jobs[: self._jobs.index(job)]
            return sum(other.phase is Phase.PREPARE for other in before)

    def _waiting(self) -> int:
        return sum(job.phase is Phase.PREPARE for job in self._jobs)

    def _tell_jobs_held(self) -> None:
        with self._changed:
            waiting = self._waiting()
            self._observer.jobs_held(waiting, len(self._jobs) - waiting)

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait_for_jobs():
                    self._work()
        finally:
            self._fail_all()

    def _wait_for_jobs(self) -> bool:
        """Block until there are jobs; whether the engine is to go on."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._is_stopped)
            return not self._is_stopped

    def _work(self) -> None:
        """Drop what was cancelled or is late, then do one piece of work: a preparation, a tick or a finish."""
        jobs = self._live_jobs()
        if not jobs:
            return
        chosen = self._choose(jobs)
        phase = chosen[0].phase
        rows = sum(job.rows for job in chosen)  # before the tick, after which a job may have fewer
        begun_at = self._clock()
        match phase:
            case Phase.PREPARE:
                self._prepare(chosen[0])
            case Phase.DENOISE:
                self._tick(chosen)
            case _:
                self._finish(chosen[0])
        self._worked_at = self._clock()
        waiting = [job for job in jobs if job not in chosen]
        self._observer.worked(phase, chosen, waiting, self._clock() - begun_at, rows)

    def _live_jobs(self) -> list[Job[Any]]:
        with self._changed:
            jobs = list(self._jobs)
        now = self._clock()
        for job in jobs:
            if job.future.cancelled():
                self._retire(job, None)
            elif now >= job.deadline:
                late = DeadlinePassed(f"the job was not done within {job.time_limit_s:g} s")
                self._retire(job, Failure(error=late))
        return [job for job in jobs if job.phase is not Phase.ENDED]

    def _choose(self, jobs: list[Job[Any]]) -> list[Job[Any]]:
        chosen = attempt(self._policy.choose, jobs)
        if isinstance(chosen, list) and chosen:
            return chosen
        error = chosen.error if isinstance(chosen, Failure) else None
        logger.error("the policy chose none of %d jobs; taking the oldest alone", len(jobs), exc_info=error)
        return jobs[:1]

    def _prepare(self, job: Job[Any]) -> None:
        begun_at = self._clock()
        switched = attempt(self._switch.to, job.adapters)
        outcome = switched if isinstance(switched, Failure) else attempt(job.enter_denoising)
        job.prepared_at = self._clock()
        job.timings.queue_ms = _ms(begun_at - job.submitted_at)
        job.timings.prepare_ms = _ms(job.prepared_at - begun_at)
        if isinstance(outcome, Failure):
            self._retire(job, outcome)
        else:
            self._tell_jobs_held()

    def _tick(self, jobs: list[Job[Any]]) -> None:
        begun_at = self._clock()
        switched = attempt(self._switch.to, jobs[0].adapters)
        if isinstance(switched, Failure):
            for job in jobs:
                self._retire(job, switched)
            return
        outcomes = tick(self._unet, [job.denoising for job in jobs], self._stack)
        self._after_tick()
        ended_at = self._clock()
        with self._changed:
            self._counts.update(ticks=1, rows=sum(job.rows for job in jobs))
            self._pace.add(sum(job.rows * job.pixels for job in jobs), ended_at - begun_at)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.timings.denoise_ms = _ms(ended_at - job.prepared_at)
            told = outcome if isinstance(outcome, Failure) else attempt(job.advance, outcome)
            if isinstance(told, Failure):
                self._retire(job, told)

    def _finish(self, job: Job[Any]) -> None:
        begun_at = self._clock()
        outcome = attempt(job.finished)
        job.timings.finish_ms = _ms(self._clock() - begun_at)
        self._retire(job, outcome)

    def _fail_all(self) -> None:
        with self._changed:
            self._is_stopped = True
            jobs = list(self._jobs)
        for job in jobs:
            self._retire(job, Failure(error=EngineStopped("the engine was stopped before the job ended")))

    def _retire(self, job: Job[Any], outcome: object) -> None:
        """Free the job's place, then resolve its future (unless cancelled) with its result or Failure."""
        # From here on the future cannot be cancelled any more, or it was before.
        is_wanted = job.future.set_running_or_notify_cancel()
        ending = _ending(outcome) if is_wanted else "cancelled"
        with self._changed:
            job.end()
            self._jobs.remove(job)
            self._counts[ending] += 1
            self._tell_jobs_held()
        self._observer.ended(job, ending)
        if is_wanted and isinstance(attempt(_resolve, job.future, outcome), Failure):
            logger.error("a callback of a job's future raised an error that is no Exception")


def _ending(outcome: object) -> Outcome:
    if not isinstance(outcome, Failure):
        return "done"
    return "late" if isinstance(outcome.error, DeadlinePassed) else "failed"


def _resolve(future: Future[Any], outcome: object) -> None:
    if isinstance(outcome, Failure):
        future.set_exception(outcome.error)
    else:
        future.set_result(outcome)


def _ms(seconds: float) -> float:
    return seconds * 1000.0
