"""What an engine raises, or puts into a job's future, on its own account."""


class EngineError(Exception):
    """Base of the engine's own errors."""


class QueueFull(EngineError):
    """The engine holds as many jobs as it may: come back later."""

    def __init__(self, *, waiting: int, max_jobs: int) -> None:
        super().__init__(f"the engine holds {max_jobs} jobs, allowed {max_jobs}; {waiting} have not begun")
        self.waiting = waiting
        self.max_jobs = max_jobs


class EngineStopped(EngineError):
    """The engine takes no more work, or was stopped before the job ended."""


class NonFiniteLatents(EngineError):
    """A job's latents hold NaN or infinity after its last step."""
