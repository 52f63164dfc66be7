"""What an engine tells of its work, for metrics."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from stepbatch.job import Job, Phase

Outcome = Literal["done", "cancelled", "failed", "late"]


class Observer(Protocol):
    """Is told on the engine's thread (`jobs_held` and a cancelled job's end: on any), and must not block."""

    def worked(
        self, phase: Phase, chosen: Sequence[Job[Any]], waiting: Sequence[Job[Any]], seconds: float, rows: int
    ) -> None:
        """The engine has worked for so long on the `chosen` jobs, then of this phase and so many rows.

        The others waited.
        """

    def rested(self, waiting: Sequence[Job[Any]], seconds: float) -> None:
        """For so long there was no work: the models of all jobs were not there."""

    def jobs_held(self, waiting: int, running: int) -> None:
        """So many jobs are not prepared yet, and so many prepared and not ended."""

    def ended(self, job: Job[Any], outcome: Outcome) -> None:
        """The job has left."""


class Silent:
    """An observer that nobody reads."""

    def worked(
        self, phase: Phase, chosen: Sequence[Job[Any]], waiting: Sequence[Job[Any]], seconds: float, rows: int
    ) -> None:
        """Nothing."""

    def rested(self, waiting: Sequence[Job[Any]], seconds: float) -> None:
        """Nothing."""

    def jobs_held(self, waiting: int, running: int) -> None:
        """Nothing."""

    def ended(self, job: Job[Any], outcome: Outcome) -> None:
        """Nothing."""
