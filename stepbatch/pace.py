"""How fast an engine works off what its jobs ask of it."""

from stepbatch.errors import EngineError

SMOOTHING = 0.05  # weight of the newest measurement: some twenty ticks count


class Pace:
    """An exponentially smoothed rate, in units of `Job.remaining_work` per second; not thread-safe.

    `seconds_per_work` is where it begins, as measured at warm-up. Raises EngineError unless it is positive.
    """

    def __init__(self, seconds_per_work: float) -> None:
        if not seconds_per_work > 0:
            raise EngineError(f"seconds_per_work must be positive, got {seconds_per_work}")
        self._seconds_per_work = seconds_per_work

    def add(self, work: float, seconds: float) -> None:
        """Count a piece of work that has been done in so many seconds."""
        if work > 0:
            self._seconds_per_work += SMOOTHING * (seconds / work - self._seconds_per_work)

    def seconds(self, work: float) -> float:
        """How long so much work takes."""
        return work * self._seconds_per_work
