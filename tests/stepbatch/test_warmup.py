import pytest

from stepbatch.warmup import ROUNDS, RowsAgain, tick_times, worthwhile_rows


class FalseClock:
    def __init__(self) -> None:
        self._now = 0.0

    def pass_s(self, seconds: float) -> None:
        self._now += seconds

    def __call__(self) -> float:
        return self._now


@pytest.mark.parametrize(
    ("seconds", "rows"),
    [
        ({1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}, 1),  # a row more costs a row more from the first
        ({1: 1.0, 2: 1.1, 4: 1.3, 8: 2.6, 16: 5.2}, 4),
        ({1: 1.0, 2: 1.0, 4: 1.0, 8: 1.0, 16: 1.0}, 16),
        ({1: 1.0, 2: 1.9, 4: 3.6, 8: 7.1, 16: 14.0}, 1),  # too little to wait for
        ({1: 3.0}, 1),
    ],
)
def test_more_rows_only_where_they_pay(seconds: dict[int, float], rows: int) -> None:
    assert worthwhile_rows(seconds) == rows


def test_every_row_count_is_called_and_the_first_call_does_not_count() -> None:
    called: list[int] = []
    times = tick_times(called.append, (1, 2))
    assert called == [1] * 4 + [2] * 4
    assert list(times) == [1, 2]
    assert all(0 < seconds < 1 for seconds in times.values())


def test_slow_hardware_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 3))  # each look at the clock is 3 s after the last
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    called: list[int] = []
    assert tick_times(called.append) == {1: 3}
    assert called == [1]


def test_measured_again_the_shortest_times_count() -> None:
    seconds = {1: 0.010, 2: 0.012, 4: 0.016, 8: 0.032, 16: 0.064}  # 4 rows pay
    now = FalseClock()
    told: list[int] = []
    again = RowsAgain(
        lambda rows: now.pass_s(seconds[rows]),
        {1: 0.010, 2: 0.040},  # at the start something else took the machine: one row seemed to be best
        lambda times: told.append(worthwhile_rows(times)),
        now,
    )
    while again():
        pass
    assert told == [4] * ROUNDS


def test_what_takes_long_is_not_measured_again() -> None:
    now = FalseClock()
    called: list[int] = []

    def call(rows: int) -> None:
        called.append(rows)
        now.pass_s(0.2 * rows)

    again = RowsAgain(call, {1: 0.2}, lambda _: None, now)
    while again():
        pass
    assert set(called) == {1, 2}
