"""The engine: one thread that owns the model and works on whatever jobs the policy chooses."""

import threading
import time
from collections.abc import Callable
from itertools import takewhile
from types import TracebackType
from typing import Any, Self

import torch

from stepbatch.errors import EngineStopped
from stepbatch.failure import Failure, attempt
from stepbatch.held import HeldJobs
from stepbatch.interrupt import Interrupt
from stepbatch.job import Job, Phase
from stepbatch.models import Models
from stepbatch.observer import Observer, Silent
from stepbatch.pace import Pace
from stepbatch.policy import Policy
from stepbatch.stats import Stats
from stepbatch.tick import KeptStack, tick
from stepbatch.turns import Turns

IDLE_S = 1.0  # without jobs, until there is time for other things


class Engine:
    """Runs denoising jobs together on one thread of its own; as a context manager it starts and stops.

    Futures are resolved on the engine's thread (a cancelled one on the thread that cancels), never under a
    lock: their callbacks may call `submit`, but neither they nor a job's callables may call `stop`.
    """

    def __init__(
        self,
        models: Models,
        policy: Policy,
        *,
        max_jobs: int,
        seconds_per_work: float,
        observer: Observer | None = None,
        after_tick: Callable[[], None] = lambda: None,
        end_early: Callable[[bool], None] = lambda _: None,
        when_idle: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`after_tick` is called when a tick's work has been given to the device (stepbatch/lead.py). `end_early` tells
        the model that nobody waits for the call under way (stepbatch/interrupt.py). `when_idle` is called while there
        are no jobs, each second until it says that it has nothing more to do.
        """
        self._models = models
        self._stack = KeptStack()
        self._policy = policy
        self._pace = Pace(seconds_per_work)
        self._observer = observer or Silent()
        self._jobs = HeldJobs(max_jobs, self._observer, self._pace.seconds, clock)
        self._turns = Turns(self._jobs, models, policy, clock)
        self._after_tick = after_tick
        self._interrupt = Interrupt(end_early)
        self._when_idle = when_idle
        self._clock = clock  # in seconds
        self._ticks = self._rows = 0
        # A daemon, so that an engine which nobody stopped does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="stepbatch-engine", daemon=True)

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
        self._jobs.take(job)
        job.future.add_done_callback(self._interrupt.look)
        job.future.add_done_callback(self._jobs.wake)

    def wake(self) -> None:
        """Something that jobs need has come; from any thread."""
        self._jobs.wake()

    def stop(self) -> None:
        """Let the tick, prepare or finish in hand end, then fail all other jobs with EngineStopped."""
        self._jobs.close()
        if self._thread.ident is not None:
            self._thread.join()
        self._fail_all()

    @property
    def stats(self) -> Stats:
        """A snapshot; a job is counted as ended before its future is resolved."""
        waiting, running = self._jobs.counts
        ended = self._jobs.ended
        return Stats(
            ticks=self._ticks,
            rows=self._rows,
            done=ended["done"],
            cancelled=ended["cancelled"],
            failed=ended["failed"],
            late=ended["late"],
            waiting=waiting,
            running=running,
        )

    @property
    def stuck_s(self) -> float:
        """For how long there have been jobs without an end to any piece of work."""
        return self._jobs.stuck_s

    def place(self, job: Job[Any]) -> int | None:
        """How many jobs that are not prepared yet go before this one; None once it is prepared itself."""
        if job.phase is not Phase.PREPARE:
            return None
        return sum(other.phase is Phase.PREPARE for other in self._before(job))

    def forecast_s(self, job: Job[Any], further_work: float = 0.0) -> float:
        """How long the jobs that go before this one, itself, its load and some further work take at the present pace.

        Others' work and its load go on at the same time.
        """
        before = sum(each.remaining_work for each in self._before(job))
        wait_s = max(self._pace.seconds(before), self._models.wait_s(job))
        return wait_s + self._pace.seconds(job.remaining_work + further_work)

    def _before(self, job: Job[Any]) -> list[Job[Any]]:
        return list(takewhile(lambda other: other is not job, self._policy.in_turn(self._jobs.all())))

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                has_idle_work = True
                while self._jobs.wait(IDLE_S if has_idle_work else None):
                    if self._jobs.all():
                        self._work()
                        has_idle_work = True
                    else:
                        has_idle_work = attempt(self._when_idle) is True
        finally:
            self._fail_all()

    def _work(self) -> None:
        """Drop what was cancelled or is late, then do one piece of work: a preparation, a tick or a finish.

        If all jobs wait for their models, wait with them.
        """
        begun_at = self._clock()
        jobs = self._turns.alive()
        ready = self._turns.ready(jobs)
        if not ready:
            self._rest(jobs, begun_at)
            return
        chosen = self._turns.choose(ready)
        phase = chosen[0].phase
        rows = sum(job.rows for job in chosen)  # before the tick, after which a job may have fewer
        with self._interrupt.during(chosen):
            match phase:
                case Phase.PREPARE:
                    self._prepare(chosen[0])
                case Phase.DENOISE:
                    self._tick(chosen)
                case _:
                    self._finish(chosen[0])
        self._jobs.worked()
        waiting = [job for job in jobs if job not in chosen]
        seconds = self._clock() - begun_at
        _count_load(waiting, seconds)
        self._observer.worked(phase, chosen, waiting, seconds, rows)

    def _rest(self, jobs: list[Job[Any]], begun_at: float) -> None:
        waiting = [job for job in jobs if job.phase is not Phase.ENDED]
        if waiting:
            first = min(job.deadline for job in waiting) - self._clock()
            self._jobs.rest(min(max(first, 0.0), IDLE_S))
            seconds = self._clock() - begun_at
            _count_load(waiting, seconds)
            self._observer.rested(waiting, seconds)

    def _prepare(self, job: Job[Any]) -> None:
        begun_at = self._clock()
        outcome = attempt(job.enter_denoising)
        job.prepared_at = self._clock()
        job.timings.queue_ms = _ms(begun_at - job.submitted_at)
        job.timings.prepare_ms = _ms(job.prepared_at - begun_at)
        if isinstance(outcome, Failure):
            self._jobs.end(job, outcome)
        else:
            self._jobs.tell()

    def _tick(self, jobs: list[Job[Any]]) -> None:
        begun_at = self._clock()
        unet = self._models.unet(jobs[0])
        assert unet is not None  # it was there before the choice, and goes only by `plan`
        outcomes = tick(unet, [job.denoising for job in jobs], self._stack)
        self._after_tick()
        ended_at = self._clock()
        self._ticks += 1
        self._rows += sum(job.rows for job in jobs)
        if not self._interrupt.has_come:
            self._pace.add(sum(job.rows * job.pixels for job in jobs), ended_at - begun_at)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.timings.denoise_ms = _ms(ended_at - job.prepared_at)
            told = outcome if isinstance(outcome, Failure) else attempt(job.advance, outcome)
            if isinstance(told, Failure):
                self._jobs.end(job, told)

    def _finish(self, job: Job[Any]) -> None:
        begun_at = self._clock()
        outcome = attempt(job.finished)
        job.timings.finish_ms = _ms(self._clock() - begun_at)
        self._jobs.end(job, outcome)

    def _fail_all(self) -> None:
        self._jobs.close()
        for job in self._jobs.all():
            self._jobs.end(job, Failure(error=EngineStopped("the engine was stopped before the job ended")))


def _count_load(waiting: list[Job[Any]], seconds: float) -> None:
    for job in waiting:
        if job.is_loading:
            job.timings.load_ms += _ms(seconds)


def _ms(seconds: float) -> float:
    return seconds * 1000.0
