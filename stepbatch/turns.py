"""Whose turn it is: the jobs that are alive, of which the models are there, and that the policy chooses."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from stepbatch.errors import DeadlinePassed
from stepbatch.failure import Failure, attempt
from stepbatch.held import HeldJobs
from stepbatch.job import Job, Phase
from stepbatch.models import Models
from stepbatch.policy import Policy

logger = logging.getLogger(__name__)


class Turns:
    """An engine's, on its thread."""

    def __init__(self, jobs: HeldJobs, models: Models, policy: Policy, clock: Callable[[], float]) -> None:
        self._jobs, self._models, self._policy, self._clock = jobs, models, policy, clock

    def alive(self) -> list[Job[Any]]:
        """Those that go on. Ends what was cancelled, is late, or can never get what it needs."""
        jobs, now = self._jobs.all(), self._clock()
        self._models.collect()
        for job in jobs:
            if job.future.cancelled():
                self._jobs.end(job, None)
            elif now >= job.deadline:
                late = DeadlinePassed(f"the job was not done within {job.time_limit_s:g} s")
                self._jobs.end(job, Failure(error=late))
            else:
                self._look(job)
        return [job for job in jobs if job.phase is not Phase.ENDED]

    def ready(self, alive: list[Job[Any]]) -> list[Job[Any]]:
        """Those of which the models are there. What the others need is to come, for which some may have to go."""
        if any(job.is_loading for job in alive):
            self._models.plan(self._policy.in_turn(alive))
            for job in alive:
                self._look(job)
        return [job for job in alive if not job.is_loading and job.phase is not Phase.ENDED]

    def choose(self, ready: list[Job[Any]]) -> list[Job[Any]]:
        """The policy's choice; the oldest job, should there be none."""
        chosen = attempt(self._policy.choose, ready)
        if isinstance(chosen, list) and chosen:
            return chosen
        error = chosen.error if isinstance(chosen, Failure) else None
        logger.error("the policy chose none of %d jobs; taking the oldest alone", len(ready), exc_info=error)
        return ready[:1]

    def _look(self, job: Job[Any]) -> None:
        unet = attempt(self._models.unet, job)
        job.is_loading = unet is None
        if isinstance(unet, Failure):
            self._jobs.end(job, unet)
