"""What the engine adds to the UNet: ticks with a UNet that takes no time, at SDXL's own shapes, on one core.

A tick has these parts, told apart by when the policy, the samplers and the UNet are called: "scale" (the
samplers' `scale_model_input`), "stack" (all else before the UNet), "guide" (guidance, and all else between the
UNet and the last sampler), "step" (the samplers' `step`), and "engine" (what is left up to the policy's next
choice). Beside them "loop", what diffusers' own loop takes for a step of one picture, and "floor", what the
least possible traffic takes at this machine's speed of copying. Once in a job's life, not in its ticks: "join"
(its first tick's stacking is dearer) and "check" (after its last, whether all is finite).

Times are CPU times of the thread that works, so that other work on the machine counts less; nothing here waits.
Prints medians in microseconds per job and tick; writes `tick_overhead.json` and `.png` to `benchmarks/results`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.tick_overhead_plot import plot
from sdxl.denoising.sampler import make_sampler, set_steps
from stepbatch.denoising import Conditioning, Denoising
from stepbatch.engine import Engine
from stepbatch.job import Job
from stepbatch.models import OneModel
from stepbatch.policy import Policy, RowLimit, ShortestRemainingWork
from tests.stepbatch.fakes import TIMEOUT_S, denoise_alone

REPEATS = 9
STEPS = 30
SHAPE = (4, 128, 128)  # SDXL's latents of a picture of 1024 x 1024, float32
PARTS = ("scale", "stack", "guide", "step", "engine")
ROOT = Path(__file__).parents[1]
CONFIG = json.loads((ROOT / "checkpoints/mini/base/scheduler/scheduler_config.json").read_text())
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Case:
    sampler: Any  # one of sdxl.request.samplers' names
    jobs: int
    rows: int  # of each job: 2 with guidance, else 1

    def __str__(self) -> str:
        return f"{self.sampler}, {self.jobs} x {self.rows}"


CASES = [Case(*settings) for settings in product(("euler", "dpmpp_2m"), (1, 8, 16), (1, 2))]


@dataclass
class Clock:
    """Gives the time since the call before to a part of the tick."""

    now: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)
    ticks: list[dict[str, float]] = field(default_factory=list)  # seconds by part

    def lap(self, part: str) -> None:
        then, self.now = self.now, time.thread_time()
        self.spent[part] = self.spent.get(part, 0.0) + self.now - then

    def end_tick(self) -> None:
        if "step" in self.spent:  # else it was a preparation or a finish
            self.ticks.append(self.spent)
        self.spent = {}

    def around(self, work: Callable[..., Any], *, before: str, during: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            self.lap(before)
            result = work(*args, **kwargs)
            self.lap(during)
            return result

        return timed


@dataclass
class TimedPolicy:
    policy: Policy
    clock: Clock

    def in_turn(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        return self.policy.in_turn(jobs)

    def choose(self, jobs: Sequence[Job[Any]]) -> list[Job[Any]]:
        chosen = self.policy.choose(jobs)
        self.clock.lap("engine")
        self.clock.end_tick()
        return chosen


@dataclass
class NoUNet:
    """Answers at once, with the same numbers always."""

    output: Tensor
    clock: Clock = field(default_factory=Clock)

    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        assert latents.shape == self.output.shape
        assert len(timesteps) == conditioning.rows == len(latents)
        self.clock.lap("stack")
        return self.output


def make_denoising(case: Case, clock: Clock | None = None) -> Denoising:
    sampler = make_sampler(case.sampler, CONFIG)
    timesteps = set_steps(sampler, STEPS)
    sampler.set_begin_index(0)
    if clock is not None:
        sampler.scale_model_input = clock.around(sampler.scale_model_input, before="stack", during="scale")
        sampler.step = clock.around(sampler.step, before="guide", during="step")
    conditioning = Conditioning(
        embeddings=torch.randn(case.rows, 77, 2048),
        pooled=torch.randn(case.rows, 1280),
        time_ids=torch.ones(case.rows, 6),
    )
    return Denoising(
        latents=torch.randn(1, *SHAPE),
        sampler=sampler,
        timesteps=timesteps,
        conditioning=conditioning,
        guidance_scale=5.0,
        step_options={"generator": torch.Generator()},
    )


def engine_us(case: Case) -> dict[str, float]:
    """Microseconds per job and tick by part, and per job "join" and "check"; all jobs go side by side."""
    clock = Clock()
    rows = case.jobs * case.rows
    jobs = [
        Job(
            prepare=lambda: make_denoising(case, clock),
            finish=lambda _: None,
            rows=case.rows,
            size=SHAPE[1:],
            steps=STEPS,
        )
        for _ in range(case.jobs)
    ]
    policy = TimedPolicy(ShortestRemainingWork(limit=RowLimit(rows=rows), patience=1.0, low_priority_s=0.0), clock)
    engine = Engine(
        OneModel(NoUNet(torch.randn(rows, *SHAPE), clock)), policy, max_jobs=case.jobs, seconds_per_work=1.0
    )
    for job in jobs:
        engine.submit(job)
    with engine:
        for job in jobs:
            job.future.result(TIMEOUT_S)
    assert len(clock.ticks) == STEPS
    first, *between, last = clock.ticks
    usual = {part: median(tick[part] for tick in between) for part in PARTS}
    once = {
        "join": first["stack"] - usual["stack"],
        "check": last["guide"] + last["engine"] - usual["guide"] - usual["engine"],
    }
    return {part: 1e6 * seconds / case.jobs for part, seconds in {**usual, **once}.items()}


def loop_us(case: Case) -> float:
    """Microseconds of a step of diffusers' loop, for one picture."""
    state = make_denoising(case)
    unet = NoUNet(torch.randn(case.rows, *SHAPE))
    with torch.inference_mode():
        begun_at = time.thread_time()
        denoise_alone(state, unet)
        return 1e6 * (time.thread_time() - begun_at) / STEPS


def copied_bytes_per_us() -> float:
    """Read and written together, by copying within as much memory as 16 jobs' latents and predictions take."""
    source, target = torch.randn(2, 32, *SHAPE)
    begun_at = time.thread_time()
    target.copy_(source)
    return 2 * source.nbytes / (1e6 * (time.thread_time() - begun_at))


def floor_bytes(case: Case) -> int:
    """What one job and tick must move if all operations between two UNet calls were one."""
    picture = 4 * SHAPE[0] * SHAPE[1] * SHAPE[2]
    before_unet = 1 + case.rows  # latents in, the UNet's input out
    after_unet = case.rows + 1 + 1  # prediction and latents in, the next latents out
    history = 2 if case.sampler == "dpmpp_2m" else 0  # the last step's picture in, this one's out
    return picture * (before_unet + after_unet + history)


def measure(repeats: int) -> list[dict[str, Any]]:
    samples: dict[Case, list[dict[str, float]]] = {case: [] for case in CASES}
    copying = []
    for repeat, case in product(range(-1, repeats), CASES):
        speed = copied_bytes_per_us()
        sample = {**engine_us(case), "loop": loop_us(case)}
        if repeat >= 0:  # before, it warms up
            copying.append(speed)
            samples[case].append({**sample, "all": sum(sample[part] for part in PARTS)})
    return [
        {
            "sampler": case.sampler,
            "jobs": case.jobs,
            "rows": case.rows,
            "floor": round(floor_bytes(case) / median(copying), 1),
            **{part: round(median(sample[part] for sample in samples[case]), 1) for part in samples[case][0]},
        }
        for case in CASES
    ]


def name_of(result: dict[str, Any]) -> str:
    return str(Case(result["sampler"], result["jobs"], result["rows"]))


def print_table(results: list[dict[str, Any]]) -> None:
    columns = ("floor", *PARTS, "all", "loop", "join", "check")
    print(f"{'us per job and tick':24}", *(f"{column:>7}" for column in columns))
    for result in results:
        print(f"{name_of(result):24}", *(f"{result[column]:7.0f}" for column in columns))


def main(repeats: int = REPEATS) -> None:
    torch.set_num_threads(1)
    results = measure(repeats)
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores (one used), torch {torch.__version__}",
        "repeats": repeats,
        "us_per_job_and_tick": results,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "tick_overhead.json").write_text(json.dumps(document, indent=2) + "\n")
    plot({name_of(result): result for result in results}, PARTS, RESULTS / "tick_overhead.png")
    print_table(results)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else REPEATS)
