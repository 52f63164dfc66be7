"""What an engine raises, or puts into a job's future, on its own account."""


class EngineError(Exception):
    """Base of the engine's own errors."""


class QueueFull(EngineError):
    """The engine holds as many jobs as it may: come back later."""

    def __init__(self, *, waiting: int, max_jobs: int, retry_after_s: float) -> None:
        super().__init__(f"the engine holds {max_jobs} jobs, allowed {max_jobs}; {waiting} have not begun")
        self.waiting = waiting
        self.max_jobs = max_jobs
        self.retry_after_s = retry_after_s  # what the jobs held now take, at the rate measured


class EngineStopped(EngineError):
    """The engine takes no more work, or was stopped before the job ended."""


class DeadlinePassed(EngineError):
    """The job's time limit was over before it ended."""


class ModelTooLarge(EngineError):
    """A model, or an extra of one, does not fit into the memory that models may have."""

    def __init__(self, size_bytes: int, allowed_bytes: int) -> None:
        super().__init__(f"it takes {size_bytes / 1e9:.2f} GB, allowed {allowed_bytes / 1e9:.2f} GB")


class NonFiniteLatents(EngineError):
    """A job's latents hold NaN or infinity after its last step."""
