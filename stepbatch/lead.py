"""How far the host may run ahead of the GPU."""

from collections.abc import Callable
from typing import Protocol

import torch


class Event(Protocol):
    """A mark in the device's queue of work; torch.cuda.Event is one."""

    def record(self) -> None:
        """Put it behind all work given so far."""

    def synchronize(self) -> None:
        """Wait until the device has come to it."""


class OneTickAhead:
    """Lets the host give the GPU one tick beyond the one that it works on, and no more.

    A tick only tells the GPU what to do. Without a limit the host would soon be many ticks ahead, and a job that
    comes then would have to wait for all of them; times and progress would be of the host alone. Without any
    lead the GPU would wait for the host between two ticks.
    """

    def __init__(self, make_event: Callable[[], Event] | None = None) -> None:
        # blocking: the host sleeps rather than spins
        self._make_event = make_event or (lambda: torch.cuda.Event(blocking=True))
        self._end_of_last: Event | None = None

    def __call__(self) -> None:
        """After a tick has been given: wait for the end of the one before it."""
        before, self._end_of_last = self._end_of_last, self._make_event()
        self._end_of_last.record()
        if before is not None:
            before.synchronize()
