"""Which jobs an engine works on next."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol

from stepbatch.job import Job, Phase


class Policy(Protocol):
    """Chooses among jobs by what they say of themselves; holds no thread, no clock, and reads no tensor."""

    def choose(self, jobs: Sequence[Job[Any]], now: float) -> list[Job[Any]]:
        """Choose from `jobs`: at least one, in order of arrival, none of them ended.

        The jobs chosen are of one phase: one alone to prepare or to finish, or any number to denoise,
        all with the same latent shape. `now` is in seconds, on the clock of `Job.submitted_at`.
        """


@dataclass(frozen=True, kw_only=True)
class FirstComeFirstServed:
    """Finish before prepare before denoise, and in each the oldest first.

    Jobs that are prepared and not finished have at most `max_rows` rows together, so each tick has too.
    A job that is alone gets in whatever its rows.
    """

    max_rows: int

    def choose(self, jobs: Sequence[Job[Any]], now: float) -> list[Job[Any]]:  # noqa: ARG002 (arrival order is enough)
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
        oldest = admitted[0]
        alike = [job for job in admitted if job.denoising.shape == oldest.denoising.shape]
        rows_up_to = accumulate(job.rows for job in alike)
        return [job for job, rows in zip(alike, rows_up_to, strict=True) if job is oldest or rows <= self.max_rows]
