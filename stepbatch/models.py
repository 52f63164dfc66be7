"""What an engine asks of its models: which are there, and that others come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from stepbatch.job import Job
from stepbatch.tick import UNet


class Models(Protocol):
    """The UNets that jobs name. But for `wait_s`, only the engine's thread calls it, between two pieces of work."""

    def collect(self) -> None:
        """Take in what has come since the last time."""

    def unet(self, job: Job[Any]) -> UNet | None:
        """The UNet of the job's ticks; None while it, or an extra of the job's, is not there.

        Raises whatever keeps it from coming at all.
        """

    def plan(self, jobs: Sequence[Job[Any]]) -> None:
        """Let what `jobs` need come, that of the first one first: they are in turn."""

    def wait_s(self, job: Job[Any]) -> float:
        """About how long loading takes until the job can be worked on; from any thread."""


class OneModel:
    """One UNet for all jobs."""

    def __init__(self, unet: UNet) -> None:
        self._unet = unet

    def collect(self) -> None:
        """Nothing: it is always there."""

    def unet(self, job: Job[Any]) -> UNet:  # noqa: ARG002 (of `Models`)
        """See `Models`."""
        return self._unet

    def plan(self, jobs: Sequence[Job[Any]]) -> None:
        """Nothing."""

    def wait_s(self, job: Job[Any]) -> float:  # noqa: ARG002 (of `Models`)
        """0."""
        return 0.0
