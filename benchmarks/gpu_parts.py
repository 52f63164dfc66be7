"""The parts of the GPU benchmark: what is measured, and how."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu_contenders import Contender, Relay, Work
from benchmarks.gpu_models import Flops
from stepbatch.tick import stacked


@dataclass(kw_only=True)
class Bench:
    """What is measured, on what, and what has been found."""

    options: argparse.Namespace
    device: str
    flops: Flops
    peak_flops_per_s: float
    begun: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def attempt(self, what: str, work: Callable[[], None]) -> None:
        """Does it, unless the time is over."""
        if time.monotonic() - self.begun > self.options.budget_s:
            self.left_out.append(what)
        else:
            work()

    def seconds(self, work: Callable[[], object]) -> float:
        """The median of several, after one that is not counted."""
        self._once(work)
        return median(self._once(work) for _ in range(self.options.repeats))

    def _once(self, work: Callable[[], object]) -> float:
        self.wait()
        begun = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - begun

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def add(self, part: str, contender: str, what: str, value: float, floor: float) -> None:
        """One line of the table; both numbers in the unit that `what` names."""
        self.rows.append({"part": part, "contender": contender, "what": what, "value": value, "floor": floor})
        print(f"{part:10} {contender:8} {what:36} {value:9.3f} {floor:9.3f} {value / floor:7.2f}", flush=True)


def run_base(bench: Bench, name: str, contender: Contender) -> None:
    """Part 1."""
    work = Work(side_px=bench.options.side, steps=bench.options.steps // 2, guidance=8.0)
    seeds = range(bench.options.pictures)
    seconds = bench.seconds(lambda: contender.pictures(work, seeds))
    floor = bench.peak_flops_per_s / bench.flops.of_picture(work.steps, 0)
    bench.add("base", name, f"pictures/s, {work.steps} steps", len(seeds) / seconds, floor)


def run_ensemble(bench: Bench, name: str, contender: Contender) -> None:
    """Part 2."""
    work = Work(side_px=bench.options.side, steps=bench.options.steps, guidance=5.0, base_share=0.8)
    base_steps = round(0.8 * work.steps)
    flops = bench.flops.of_picture(base_steps, work.steps - base_steps)
    one = bench.seconds(lambda: contender.pictures(work, [0]))
    bench.add("ensemble", name, f"s for one picture, {work.steps} steps", one, flops / bench.peak_flops_per_s)
    seeds = range(bench.options.pictures)
    seconds = bench.seconds(lambda: contender.pictures(work, seeds))
    bench.add(
        "ensemble", name, f"pictures/s, {len(seeds)} at once", len(seeds) / seconds, bench.peak_flops_per_s / flops
    )


@torch.inference_mode()
def run_ticks(bench: Bench, name: str, contender: Contender, conditioner: Relay) -> None:
    """Part 3."""
    work = Work(side_px=bench.options.side, steps=1, guidance=1.0)
    side = bench.options.side // 8
    for stage, flops in (("base", bench.flops.base), ("refiner", bench.flops.refiner)):
        unet, one = contender.unet(stage), conditioner.conditioning(stage, work)
        for rows in bench.options.rows:
            conditioning = stacked([one] * rows)
            latents = torch.randn(rows, 4, side, side, device=bench.device, dtype=one.embeddings.dtype)
            timesteps = torch.full((rows,), 500.0, device=bench.device)
            ms = 1000 * bench.seconds(lambda: unet(latents, timesteps, conditioning))  # noqa: B023
            bench.add("ticks", name, f"ms, {stage}, {rows} rows", ms, 1000 * rows * flops / bench.peak_flops_per_s)


def difference(got: Sequence[NDArray[np.uint8]], expected: Sequence[NDArray[np.uint8]]) -> float:
    """Mean difference of pictures, in levels of 255. Raises AssertionError for a picture without content."""
    for picture in (*got, *expected):
        assert picture.std() > 1, "a picture of one colour: the models gave NaN"
    return float(np.mean([np.abs(a.astype(int) - b.astype(int)).mean() for a, b in zip(got, expected, strict=True)]))


def check(bench: Bench, contender: Contender, reference: Contender) -> float:
    """Mean levels between the contender's and diffusers' pictures. Raises AssertionError if they are not the same."""
    work = Work(side_px=bench.options.side, steps=4, guidance=5.0, base_share=0.5)
    levels = difference(contender.pictures(work, [1, 2]), reference.pictures(work, [1, 2]))
    assert levels < bench.options.tolerance, f"{levels:.2f} levels from diffusers' pictures"
    return levels


def peak_flops_per_s(device: str, dtype: torch.dtype, side: int) -> float:
    """Of a product of two square matrices of random numbers: the best of several."""
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def seconds() -> float:
        begun = time.perf_counter()
        for _ in range(5):
            torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - begun) / 5

    seconds()
    return float(2 * side**3 / min(seconds() for _ in range(5)))
