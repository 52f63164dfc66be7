"""How far a request has come, from what the runners say while they work."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.frames import PREVIEWS, STEPS_BEFORE, STEPS_BEYOND, Frame, Kind, pixels_of


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a request is at present."""

    stage: str  # base or refiner
    place: int | None  # jobs of the stage that go first, 0 for the next one; None once the work has begun
    step: int  # of the stage's
    of: int  # steps of the stage
    done: int  # steps of both stages
    whole: int
    eta_s: float | None  # while it waits, by what goes first, then at the pace so far; None before there is one
    preview: NDArray[np.uint8] | None = None  # [height/8, width/8, 3], RGB

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.done / self.whole if self.whole else 0.0


class Follower:
    """Hears a request's frames of both stages, and tells its progress, each once."""

    def __init__(self, tell: Callable[[Progress], object] = lambda _: None, previews: int = 0) -> None:
        self._tell = tell
        self._previews = previews  # that the runners are to send, spread evenly over all steps
        self.steps_beyond = 0
        """Steps of a second pass, of which the stages do not know yet."""
        self._steps_before = 0
        self._last: Progress | None = None
        self._first_step: tuple[float, int] | None = None  # when it was heard, and how many steps were done then
        self._pace_s: float | None = None  # for a step, so far
        self._begins_stage = False

    @property
    def headers(self) -> dict[str, str]:
        """What a runner is asked for."""
        counts = {PREVIEWS: self._previews, STEPS_BEFORE: self._steps_before, STEPS_BEYOND: self.steps_beyond}
        return {name: str(count) for name, count in counts.items()} if self._previews else {}

    def to_second_pass(self) -> None:
        """The stages know all that is to come."""
        self.steps_beyond = 0
        self.to_next_stage()

    def to_next_stage(self) -> None:
        """What is heard from now on comes after what was."""
        self._steps_before = self._last.done if self._last else 0
        self._begins_stage = True

    def hear(self, stage: str, frame: Frame) -> None:
        """One frame. A heartbeat that says nothing new is not told, nor the end of the stream."""
        if frame.kind not in (Kind.ACCEPTED, Kind.PROGRESS):
            return
        meta = frame.meta
        place, step, of = meta["place"], meta["step"], meta["steps"]
        done = self._steps_before + step
        whole = self._steps_before + of + meta["after"] + self.steps_beyond
        preview = pixels_of(frame) if frame.body else None
        forecast_s = meta.get("eta_s")  # of what waits
        last = self._last
        told = last and (last.stage, last.step, last.place, last.eta_s if forecast_s is not None else None)
        if told != (stage, step, place, forecast_s) or preview is not None:
            self._last = Progress(
                stage=stage,
                place=place,
                step=step,
                of=of,
                done=done,
                whole=whole,
                eta_s=self._eta_s(done, whole) if step else forecast_s,
                preview=preview,
            )
            self._tell(self._last)

    def _eta_s(self, done: int, whole: int) -> float | None:
        now = time.monotonic()
        if self._first_step is None or done <= self._first_step[1]:  # a lost runner's work begins anew
            self._first_step = now, done
            return None
        begun, first = self._first_step
        if self._begins_stage and self._pace_s is not None:  # the wait for the second stage is not of the pace
            begun = now - self._pace_s * (done - first)
            self._first_step = begun, first
        self._begins_stage = False
        self._pace_s = (now - begun) / (done - first)
        return self._pace_s * (whole - done)
