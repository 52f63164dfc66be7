"""How long a request may take, and whether it yields to others: two headers, from the client and between services."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

from sdxl.errors import invalid_field

GRACE_S = 1.0  # the runners end a job that is late; the entry, so much later, one that a runner has not ended
TIMEOUT, PRIORITY = "x-timeout-s", "x-priority"
PRIORITIES = ("normal", "low")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """A request's deadline, on this process's monotonic clock in seconds, and its priority."""

    deadline: float
    is_low_priority: bool = False

    @classmethod
    def from_headers(cls, headers: Mapping[str, str], max_timeout_s: float) -> Self:
        """Of a request that came just now; without a header, the most time there is.

        Raises RelayError (400) with the header's name for a value that is not allowed.
        """
        priority = headers.get(PRIORITY, "normal").strip().lower()
        if priority not in PRIORITIES:
            raise invalid_field("X-Priority", headers[PRIORITY], " or ".join(PRIORITIES))
        timeout_s = _seconds(headers[TIMEOUT], max_timeout_s) if TIMEOUT in headers else max_timeout_s
        return cls(deadline=time.monotonic() + timeout_s, is_low_priority=priority == "low")

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; 0 once it is over."""
        return max(0.0, self.deadline - time.monotonic())

    def as_headers(self) -> dict[str, str]:
        """What the next service is told. The time left goes along, not the deadline: clocks differ."""
        return {TIMEOUT: f"{self.remaining_s:.3f}", PRIORITY: "low" if self.is_low_priority else "normal"}


# Of the request that this task works on; the entry sets it.
LIMITS: ContextVar[Limits] = ContextVar("LIMITS")


def _seconds(value: str, most: float) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= most:
        raise invalid_field("X-Timeout-S", value, f"seconds, from 0 to {most:g}")
    return seconds
