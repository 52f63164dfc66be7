"""How many rows are worth having in one tick: measured on the hardware that is there."""

import time
from collections.abc import Callable, Mapping

import torch

ROW_COUNTS = (1, 2, 4, 8, 16)
REPEATS = 3
WORTHWHILE = 0.85  # of the most rows per second that any row count gives
GAIN = 1.02  # of rows per second: a row count that gives no more than so much over fewer rows is the last one tried
ROUNDS = 3  # of measuring again
BRIEF_S = 0.5  # a tick that takes longer is not measured again: a job might come meanwhile
LONG_S = 2.0  # a tick that takes so long is measured once, and no more rows are tried


def tick_times(call: Callable[[int], object], row_counts: tuple[int, ...] = ROW_COUNTS) -> dict[int, float]:
    """Seconds of a call by its rows: the shortest of three, after one that is not counted.

    The shortest, because another runner of the same machine may be measuring, too, and makes calls only longer.
    `call` does one call with so many rows, and returns when its result is there. Where memory does not suffice for so
    many, or they give hardly more rows per second, fewer are the most.
    """
    times: dict[int, float] = {}
    most_per_second = 0.0
    for rows in row_counts:
        try:
            first = _seconds(call, rows)
        except torch.OutOfMemoryError:
            if not times:
                raise
            break
        if first >= LONG_S:
            times[rows] = first
            break
        times[rows] = min(_seconds(call, rows) for _ in range(REPEATS))
        if rows / times[rows] < GAIN * most_per_second:
            break
        most_per_second = rows / times[rows]
    return times


def worthwhile_rows(times: Mapping[int, float]) -> int:
    """The row count past which a tick's time grows about as fast as its rows: more would only make jobs wait."""
    most_per_second = max(rows / seconds for rows, seconds in times.items())
    return min(rows for rows, seconds in times.items() if rows / seconds >= WORTHWHILE * most_per_second)


class RowsAgain:
    """Measures again while there is nothing to do, for at the start the machine has other things to do, too.

    The shortest time of all measurements counts: other work makes ticks only longer.
    """

    def __init__(
        self,
        call: Callable[[int], object],
        times: Mapping[int, float],
        change: Callable[[Mapping[int, float]], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """`times` are those of the start. `change` gets the times after each round."""
        self._call, self._change, self._clock = call, change, clock
        self._times = dict(times)
        per_row = min(seconds / rows for rows, seconds in times.items())
        brief = [rows for rows in ROW_COUNTS if rows * per_row <= BRIEF_S]
        self._left = brief * ROUNDS

    def __call__(self) -> bool:
        """One measurement; whether there are more to do. Raises what the call raises, and does no more then."""
        if not self._left:
            return False
        rows = self._left.pop(0)
        self._call(rows)  # the first may have its own memory to find
        begun = self._clock()
        self._call(rows)
        seconds = self._clock() - begun
        self._times[rows] = min(seconds, self._times.get(rows, seconds))
        if not self._left or self._left[0] < rows:
            self._change(self._times)
        return bool(self._left)


def _seconds(call: Callable[[int], object], rows: int) -> float:
    begun = time.perf_counter()
    call(rows)
    return time.perf_counter() - begun
