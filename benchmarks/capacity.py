"""How many replicas of each stage keep the 95th percentile of latency under a target: `python -m benchmarks.capacity`.

Simulates Poisson arrivals at the two stages, each replica with the engine's own policy. The defaults are SDXL at
1024 x 1024 in half precision on an H200 as calculated in docs/explanation/capacity.md; your own tick times are in the
log of each runner's start, in milliseconds by rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from benchmarks.capacity_model import Kind, Pipeline, StageSpeed, poisson_arrivals, replicas_busy
from benchmarks.capacity_simulation import Outcome, Simulation

# Calculated: TFLOP of a row and step, and of a decoding, over 790 TFLOP/s in bfloat16.
BASE_ROW_MS, REFINER_ROW_MS, DECODE_MS = 8.56, 9.23, 13.3
SPARE = 6  # replicas tried beyond what the work alone keeps busy
COLUMNS = ("base", "refiner", "p50, s", "p95, s", "base busy", "refiner busy", "target")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A cluster, and how it did."""

    bases: int
    refiners: int
    outcome: Outcome
    target_s: float

    @property
    def is_good(self) -> bool:
        return self.outcome.quantile_s(0.95) <= self.target_s

    def row(self) -> tuple[str, ...]:
        """A line of the table, in the order of COLUMNS."""
        of = self.outcome
        seconds = (f"{of.quantile_s(share):.2f}" for share in (0.5, 0.95))
        busy = (f"{share:.0%}" for share in (of.base_utilisation, of.refiner_utilisation))
        return (str(self.bases), str(self.refiners), *seconds, *busy, "met" if self.is_good else "")


def trials(pipeline: Pipeline, mix: list[Kind], options: argparse.Namespace) -> Iterator[list[Trial]]:
    """All clusters of one size in all, from the smallest that can keep up, until one of them meets the target."""
    arrivals = poisson_arrivals(options.requests, options.rate, mix, options.seed)
    fewest_bases, fewest_refiners = (max(1, ceil(busy)) for busy in replicas_busy(options.rate, mix, pipeline))
    for spare in range(SPARE + 1):
        clusters = [(fewest_bases + more, fewest_refiners + spare - more) for more in range(spare + 1)]
        tried = [
            Trial(
                bases=bases,
                refiners=refiners,
                outcome=Simulation(pipeline, bases=bases, refiners=refiners).run(arrivals),
                target_s=options.target_p95,
            )
            for bases, refiners in clusters
        ]
        yield tried
        if any(trial.is_good for trial in tried):
            return


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    pipeline = Pipeline(
        base=_speed(options.base_ticks, options.base_decode, options.base_prepare, options.base_rows),
        refiner=_speed(options.refiner_ticks, options.refiner_decode, options.refiner_prepare, options.refiner_rows),
        handoff_s=options.handoff / 1000,
        entry_s=options.entry / 1000,
    )
    base_busy, refiner_busy = replicas_busy(options.rate, options.mix, pipeline)
    print(f"The work alone keeps {base_busy:.2f} base and {refiner_busy:.2f} refiner replicas busy in full ticks of")
    print(
        f"{pipeline.base.row_limit} and {pipeline.refiner.row_limit} rows. Target: p95 of {options.target_p95:g} s.\n"
    )
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    tried: list[Trial] = []
    for tried in trials(pipeline, options.mix, options):
        for trial in tried:
            print(f"| {' | '.join(trial.row())} |", flush=True)
    best = min(tried, key=lambda trial: trial.outcome.quantile_s(0.95))
    if best.is_good:
        print(f"\n{best.bases} base and {best.refiners} refiner replicas meet the target with the fewest in all.")
    else:
        print("\nNone of these meets the target; more replicas cannot make a picture faster than it is alone.")


def _speed(ticks_ms: dict[int, float], decode_ms: float, prepare_ms: float, max_rows: int | None) -> StageSpeed:
    return StageSpeed(
        ticks_s={rows: ms / 1000 for rows, ms in ticks_ms.items()},
        decode_s=decode_ms / 1000,
        prepare_s=prepare_ms / 1000,
        max_rows=max_rows,
    )


def _ticks(text: str) -> dict[int, float]:
    ticks = {int(rows): float(ms) for rows, _, ms in (pair.partition(":") for pair in text.split(","))}
    if not ticks or min(ticks) < 1 or min(ticks.values()) <= 0:
        raise ValueError(text)
    return ticks


def _kind(text: str) -> Kind:
    steps, high_noise_frac, guidance_scale, *weight = text.split(":")
    kind = Kind(
        steps=int(steps),
        high_noise_frac=float(high_noise_frac),
        guidance_scale=float(guidance_scale),
        weight=float(*weight) if weight else 1.0,
    )
    if kind.steps < 1 or (kind.steps == 1 and kind.high_noise_frac < 1) or not 0 < kind.high_noise_frac <= 1:
        raise ValueError(text)
    return kind


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rate", type=float, default=3.0, help="requests per second (default %(default)s)")
    add("--target-p95", type=float, default=3.0, help="seconds (default %(default)s)")
    add("--requests", type=int, default=1000, help="simulated for each cluster (default %(default)s)")
    add("--seed", type=int, default=0)
    add(
        "--mix",
        type=_kind,
        nargs="+",
        default=[Kind(steps=40, high_noise_frac=0.8, guidance_scale=5.0)],
        metavar="STEPS:HIGH_NOISE_FRAC:GUIDANCE[:WEIGHT]",
        help="kinds of requests; a high_noise_frac of 1 is one without the refiner (default: 40:0.8:5)",
    )
    for stage, row_ms in (("base", BASE_ROW_MS), ("refiner", REFINER_ROW_MS)):
        ticks = {rows: rows * row_ms for rows in (2, 4, 8)}
        text = ",".join(f"{rows}:{ms:.1f}" for rows, ms in ticks.items())
        add(f"--{stage}-ticks", type=_ticks, default=ticks, metavar="ROWS:MS,…", help=f"(default: {text})")
        add(f"--{stage}-rows", type=int, help="SDXL_MAX_ROWS; left out, as a runner would choose it from its ticks")
        add(f"--{stage}-decode", type=float, default=DECODE_MS, metavar="MS", help="(default %(default)s)")
        add(f"--{stage}-prepare", type=float, default=0.0, metavar="MS", help="text encoders (default %(default)s)")
    add("--handoff", type=float, default=10.0, metavar="MS", help="between the stages (default %(default)s)")
    add("--entry", type=float, default=0.0, metavar="MS", help="HTTP and the picture's file (default %(default)s)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
