"""Progress: told once, over both stages, and anew when a runner was lost."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from entry.fleet.progress import Follower, Progress
from runners.frames import Frame, Kind

BASE: dict[str, Any] = {"steps": 8, "after": 2, "place": None}
REFINER: dict[str, Any] = {"steps": 2, "after": 0, "place": None}


def frame(kind: Kind = Kind.PROGRESS, body: bytes = b"", **meta: Any) -> Frame:
    return Frame(kind=kind, meta={"work": 1.0, "step": 0, **meta}, body=body)


def told(*frames: tuple[str, Frame]) -> list[Progress]:
    heard: list[Progress] = []
    follower = Follower(heard.append)
    for index, (stage, each) in enumerate(frames):
        if index and stage != frames[index - 1][0]:
            follower.to_next_stage()
        follower.hear(stage, each)
    return heard


def test_both_stages_make_one_whole() -> None:
    heard = told(
        ("base", frame(Kind.ACCEPTED, **{**BASE, "place": 3})),
        *(("base", frame(**BASE, step=step)) for step in range(1, 9)),
        ("base", frame(Kind.RESULT)),
        ("refiner", frame(Kind.ACCEPTED, **{**REFINER, "place": 0})),
        *(("refiner", frame(**REFINER, step=step)) for step in (1, 2)),
    )
    assert [each.done for each in heard] == [0, *range(1, 9), 8, 9, 10]
    assert [each.place for each in heard] == [3, *[None] * 8, 0, None, None]
    assert {each.whole for each in heard} == {10}
    assert heard[-1].share == 1.0


def test_a_heartbeat_is_told_only_if_the_place_or_the_forecast_has_changed() -> None:
    waits: list[dict[str, Any]] = [{"place": place, "eta_s": eta_s} for place, eta_s in ((2, 9.0), (2, 8.0), (1, 8.0))]
    begun: dict[str, Any] = {"place": None}
    heard = told(*(("base", frame(**{**BASE, **state})) for state in (*waits, waits[-1], begun, begun)))
    assert [(each.place, each.eta_s) for each in heard] == [(2, 9.0), (2, 8.0), (1, 8.0), (None, None)]


def test_a_preview_is_told_even_after_a_heartbeat_of_the_same_step() -> None:
    heard = told(("base", frame(**BASE, step=1)), ("base", frame(**BASE, step=1, height=1, width=2, body=bytes(6))))
    assert heard[0].preview is None
    assert heard[1].preview is not None
    assert heard[1].preview.shape == (1, 2, 3)


def test_the_time_left_goes_by_the_pace_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("entry.fleet.progress.time.monotonic", lambda: now)
    heard: list[Progress] = []
    follower = Follower(heard.append)
    for stage, meta, step in (*(("base", BASE, step) for step in range(1, 9)), ("refiner", REFINER, 1)):
        if stage == "refiner":
            follower.to_next_stage()
        follower.hear(stage, frame(**meta, step=step))
        now += 2.0
    assert heard[0].eta_s is None
    assert [each.eta_s for each in heard[1:]] == pytest.approx([2.0 * (10 - done) for done in range(2, 10)])
    assert all(before > after for before, after in pairwise(each.eta_s or 99 for each in heard[1:]))


def test_what_waits_goes_by_the_runners_forecast_and_its_wait_is_not_of_the_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("entry.fleet.progress.time.monotonic", lambda: now)
    heard: list[Progress] = []
    follower = Follower(heard.append)
    follower.hear("base", frame(Kind.ACCEPTED, **{**BASE, "place": 3, "eta_s": 42.0}))
    for step in range(1, 9):
        now += 2.0
        follower.hear("base", frame(**BASE, step=step))
    follower.to_next_stage()
    follower.hear("refiner", frame(Kind.ACCEPTED, **{**REFINER, "place": 1, "eta_s": 34.0}))
    now += 30.0
    follower.hear("refiner", frame(**REFINER))  # prepared
    for step in (1, 2):
        follower.hear("refiner", frame(**REFINER, step=step))
        now += 2.0
    assert [each.eta_s for each in heard] == [
        42.0,
        None,
        *[2.0 * (10 - step) for step in range(2, 9)],
        34.0,
        None,
        2.0,
        0.0,
    ]


def test_a_stage_that_begins_anew_starts_a_new_pace() -> None:
    heard = told(*(("base", frame(**BASE, step=step)) for step in (1, 2, 3, 1)))
    assert [each.done for each in heard] == [1, 2, 3, 1]
    assert heard[-1].eta_s is None


def test_a_runner_is_asked_for_its_share_of_the_previews() -> None:
    assert Follower().headers == {}
    follower = Follower(previews=3)
    follower.steps_beyond = 5
    assert follower.headers == {"x-previews": "3", "x-steps-before": "0", "x-steps-beyond": "5"}
    follower.hear("base", frame(**BASE, step=8))
    follower.to_second_pass()
    assert follower.headers == {"x-previews": "3", "x-steps-before": "8", "x-steps-beyond": "0"}
