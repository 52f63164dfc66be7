"""An engine's counters."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stats:
    """An engine's counters at one moment."""

    ticks: int
    rows: int  # of all ticks together
    done: int  # jobs that gave a result
    cancelled: int
    failed: int  # those that a stop cut short among them
    late: int  # jobs whose time limit was over
    waiting: int  # jobs not prepared yet
    running: int  # jobs prepared and not ended
