"""How many rows are worth having in one tick: measured on the hardware that is there."""

import time
from collections.abc import Callable, Mapping
from statistics import median

ROW_COUNTS = (1, 2, 4, 8, 16)
REPEATS = 3
WORTHWHILE = 1.1  # a row count is worth having if it gives that much more rows per second than half as many
LONG_S = 2.0  # a tick that takes so long is measured once, and no more rows are tried


def tick_times(call: Callable[[int], object], row_counts: tuple[int, ...] = ROW_COUNTS) -> dict[int, float]:
    """Seconds of a UNet call by its rows: the median of three, after one that is not counted.

    `call` does one UNet call with so many rows, and returns when its result is there.
    """
    times: dict[int, float] = {}
    for rows in row_counts:
        first = _seconds(call, rows)
        if first >= LONG_S:
            times[rows] = first
            break
        times[rows] = median(_seconds(call, rows) for _ in range(REPEATS))
    return times


def worthwhile_rows(times: Mapping[int, float]) -> int:
    """The row count past which a tick's time grows as fast as its rows; `times` holds each count's double, too."""
    best = min(times)
    for rows in sorted(times)[1:]:
        if rows / times[rows] < WORTHWHILE * best / times[best]:
            break
        best = rows
    return best


def _seconds(call: Callable[[int], object], rows: int) -> float:
    begun = time.perf_counter()
    call(rows)
    return time.perf_counter() - begun
