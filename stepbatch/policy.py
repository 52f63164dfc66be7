"""Which jobs an engine works on next."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from stepbatch.contexts import ANY_CONTEXTS, ContextLimit
from stepbatch.job import Job, Phase

# Why a job had to wait while others were worked on.
Reason = Literal["prepare", "finish", "load", "model", "size", "context", "rows"]


class Policy(Protocol):
    """Chooses among jobs by what they say of themselves; holds no thread, no clock, and reads no tensor.

    `choose` gets the jobs of which the models are there, `in_turn` all of them.
    """

    def choose(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        """Choose from `jobs`, which are in order of arrival: at least one, in the same order, and none that has ended.

        The jobs chosen are of one phase: one alone to prepare or to finish, or any number to denoise,
        all of one group.
        """

    def in_turn(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        """All of `jobs`, which are in order of arrival, in the order in which they get their turn if no more come."""


@dataclass(kw_only=True)
class RowLimit:
    """How many rows one tick may have: `rows`, or as many as keep its memory and time the same at other sizes.

    `rows` may change, on the engine's thread.
    """

    rows: int
    pixels: int | None = None  # the latent size that `rows` holds for; None: for all

    def at(self, pixels: int) -> int:
        """Rows of one tick at most, for rows of so many latent pixels; at least 1."""
        if self.pixels is None:
            return self.rows
        return max(1, self.rows * self.pixels // pixels)


@dataclass(frozen=True, kw_only=True)
class ShortestRemainingWork:
    """The job with the least work left goes first, but nobody is overtaken for ever.

    Each job has a time at which it is due: its arrival, `patience` seconds later for each unit of work that it has
    left, and `load_delay` later while its model is not there. The job due first leads. If it denoises, others of its
    group go along while there are rows and `contexts` allows it, those due first before the rest, and who of them is
    not prepared yet is prepared first.

    The bound: a job that arrives at time a with work w is overtaken only by jobs that arrive before
    a + patience * w + l (`low_priority_s` later if its priority is low), where l is its `load_delay`: whoever comes
    after that is due after it. Its work left only falls, so the bound never moves away. With `patience` 0 and without
    loads, arrival alone decides. Jobs of other models go on while its own is loaded; that takes nothing from it.

    So a load counts as work: where models have to make room for each other, the jobs of one are worked off together
    while those of another wait, and the models do not change with each job.

    Groups do not take turns at every tick: while one ticks, the due times of its jobs come nearer and the others'
    stand still. Another group's turn comes only when a job arrives that is due first, or when the leader ends.
    """

    limit: RowLimit
    patience: float  # seconds per row x latent pixel x step
    low_priority_s: float  # how much later a job of low priority is due
    load_delay: Callable[[Job[Any]], float] = lambda _: 0.0  # in seconds, by the load that the job still needs; else 0
    contexts: ContextLimit = ANY_CONTEXTS

    def due(self, job: Job[Any]) -> float:
        """In seconds, on the clock of `Job.submitted_at`."""
        delay = self.low_priority_s if job.is_low_priority else 0.0
        return job.submitted_at + delay + self.load_delay(job) + self.patience * job.remaining_work

    def in_turn(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        """See `Policy.in_turn`."""
        return sorted(jobs, key=self.due)

    def choose(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        """See `Policy.choose`."""
        in_turn = self.in_turn(jobs)
        leader = in_turn[0]
        if leader.phase is Phase.FINISH:
            return [leader]
        alike = (job for job in in_turn if job.group == leader.group and job.phase is not Phase.FINISH)
        together = fitting(alike, self.limit.at(leader.pixels), self.contexts)
        unprepared = [job for job in together if job.phase is Phase.PREPARE]
        return unprepared[:1] or [job for job in jobs if job in together]


@dataclass(frozen=True, kw_only=True)
class FirstComeFirstServed:
    """Finish before prepare before denoise, and in each the oldest first.

    Jobs that are prepared and not finished have at most `max_rows` rows together, so each tick has too.
    A job that is alone gets in whatever its rows.
    """

    max_rows: int
    contexts: ContextLimit = ANY_CONTEXTS

    def in_turn(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        """See `Policy.in_turn`."""
        return list(jobs)

    def choose(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        """See `Policy.choose`."""
        # Finishing comes first because it frees memory and a place.
        finishing = [job for job in jobs if job.phase is Phase.FINISH]
        if finishing:
            return finishing[:1]
        waiting = [job for job in jobs if job.phase is Phase.PREPARE]
        admitted = [job for job in jobs if job.phase is Phase.DENOISE]
        # Only the oldest is asked: were a smaller job to slip past it, it might wait for ever.
        admitted_rows = sum(job.rows for job in admitted)
        if waiting and (not admitted or admitted_rows + waiting[0].rows <= self.max_rows):
            return waiting[:1]
        return fitting((job for job in admitted if job.group == admitted[0].group), self.max_rows, self.contexts)


def fitting(jobs: Iterable[Job[Any]], max_rows: int, contexts: ContextLimit) -> list[Job[Any]]:
    """The first of `jobs`, whatever its rows, and of the rest in order each that there are rows for.

    So it is with contexts: the first is taken whatever its own, and others if theirs may share its tick.
    """
    taken: list[Job[Any]] = []
    rows = 0
    lengths: set[int] = set()
    for job in jobs:
        own = lengths if job.context_tokens is None else {*lengths, job.context_tokens}
        if not taken or (rows + job.rows <= max_rows and contexts.allows(own)):
            taken.append(job)
            rows += job.rows
            lengths = own
    return taken


def reason_to_wait(job: Job[Any], phase: Phase, chosen: Sequence[Job[Any]]) -> Reason:
    """Why `job` was not among the `chosen`, who were in this phase.

    Its model was not there, it was their work alone, their group's turn, its context was as long as none of theirs, or
    there was no row.
    """
    if job.is_loading:
        return "load"
    match phase:
        case Phase.PREPARE:
            return "prepare"
        case Phase.FINISH:
            return "finish"
        case _:
            if job.needs[0] != chosen[0].needs[0]:
                return "model"
            if job.size != chosen[0].size:
                return "size"
            return "rows" if any(_is_alike(job, other) for other in chosen) else "context"


def _is_alike(job: Job[Any], other: Job[Any]) -> bool:
    return job.context_tokens in (None, other.context_tokens)
