"""A crowd: four ways to serve the same pictures, under the very same arrivals.

(a) and (b) are what one would build with BentoML around diffusers' pipelines, (c) and (d) are this server with each of
its policies. All run as `bentoml serve` with the mini checkpoint; one at a time is loaded. First the capacity of (c)
is measured, then each contender gets the same Poisson arrivals at each level, last come the other capacities.
Prints a table and the goals; writes `load.json` and `load.png` to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np

from benchmarks.load_arrivals import SIZES_PX, STEPS, mixed_work, poisson_arrivals
from benchmarks.load_client import Answer, closed_loop, fault, open_loop, pixels
from benchmarks.load_contenders import CONTENDERS, LOAD_IS_A_SHARE_OF, Contender
from benchmarks.load_plot import plot
from benchmarks.load_report import Figures, Level, goals, pictures_per_s, table

RESULTS = Path(__file__).parent / "results"
WARM_UP = 12  # BentoML's dispatcher tries itself out on 11 batches
LARGEST_DISTANCE = 2  # of 255 levels, between the contenders' pictures


def main() -> None:
    options = _options()
    with ExitStack() as servers:
        urls = {key: servers.enter_context(CONTENDERS[key].serve()) for key in options.contenders}
        warm_up(urls)
        report(*measure(urls, options), options)  # before the servers stop: whatever goes wrong then, this is kept


def measure(urls: Mapping[str, str], options: argparse.Namespace) -> tuple[dict[str, float], list[Level]]:
    """The capacity of each contender in pictures per second, and the levels."""
    reference = LOAD_IS_A_SHARE_OF
    capacities = {reference: capacity(urls[reference], CONTENDERS[reference], options)}
    by_share = {share: loaded(urls, share, share * capacities[reference], options) for share in options.levels}
    for key in options.contenders:
        if key != reference:
            capacities[key] = capacity(urls[key], CONTENDERS[key], options)
    return (
        {key: capacities[key] for key in options.contenders},
        [_level(share, figures, capacities) for share, figures in by_share.items()],
    )


def report(capacities: Mapping[str, float], levels: Sequence[Level], options: argparse.Namespace) -> None:
    """Writes the files, prints the rest."""
    names = {key: CONTENDERS[key].name for key in capacities}
    document = {
        "machine": machine(),
        "options": vars(options),
        "work": {"steps": STEPS, "sizes_px": SIZES_PX},
        "contenders": names,
        "capacity_pictures_per_s": capacities,
        "levels": [asdict(level) for level in levels],
        "goals": [goal.as_document() for goal in goals(capacities, levels)],
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "load.json").write_text(json.dumps(document, indent=2) + "\n")
    plot(names, levels, RESULTS / "load.png")
    print("", *(f"{name}: {value}" for name, value in machine().items()), "", sep="\n")
    print(*table(names, capacities, levels), "", *goals(capacities, levels), sep="\n", flush=True)


def warm_up(urls: Mapping[str, str]) -> None:
    """Every kind of work alone and in company. Raises RuntimeError unless all contenders make the same pictures."""
    work = mixed_work(WARM_UP, "warm-up")
    first = None
    for key, url in urls.items():
        alone = asyncio.run(closed_loop(url, CONTENDERS[key], work, clients=1))
        together = asyncio.run(closed_loop(url, CONTENDERS[key], work, clients=WARM_UP))
        for answers in (alone, together):
            pictures = [pixels(CONTENDERS[key], answer).astype(int) for answer in answers]
            first = first or pictures
            if any(np.abs(a - b).max() > LARGEST_DISTANCE for a, b in zip(first, pictures, strict=True)):
                raise RuntimeError(f"{key} makes other pictures than {next(iter(urls))}")
        print(f"{key} is warm", flush=True)


def capacity(url: str, contender: Contender, options: argparse.Namespace) -> float:
    """Pictures per second with as many requests under way as there are clients, all work counted to its end."""
    work = mixed_work(options.capacity_pictures, f"{options.seed} capacity")
    answers = asyncio.run(closed_loop(url, contender, work, options.clients))
    faults = _faults(contender, answers)
    rate = pictures_per_s([answer for answer, wrong in zip(answers, faults, strict=True) if not wrong])
    print(
        f"capacity of {contender.name}: {rate:.2f} pictures/s, errors: {len(answers) - faults.count(None)}", flush=True
    )
    return rate


def loaded(urls: Mapping[str, str], share: float, rate_per_s: float, options: argparse.Namespace) -> dict[str, Figures]:
    """Each contender in turn under the same arrivals."""
    arrivals = poisson_arrivals(options.arrivals, rate_per_s, f"{options.seed} {share}")
    figures = {}
    for key, url in urls.items():
        answers = asyncio.run(open_loop(url, CONTENDERS[key], arrivals))
        figures[key] = Figures.of(answers, _faults(CONTENDERS[key], answers))
        print(f"{share:.0%} {key}: mean {figures[key].mean_s:.2f} s, errors: {figures[key].errors}", flush=True)
    return figures


def machine() -> dict[str, object]:
    """What the figures are of."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": models[0].partition(": ")[2] if models else platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("bentoml", "diffusers", "torch")},
    }


def _level(share: float, figures: dict[str, Figures], capacities: Mapping[str, float]) -> Level:
    rate_per_s = share * capacities[LOAD_IS_A_SHARE_OF]
    overloaded = [key for key in figures if capacities[key] < rate_per_s]
    return Level(share=share, rate_per_s=rate_per_s, figures=figures, overloaded=overloaded)


def _faults(contender: Contender, answers: Sequence[Answer]) -> list[str | None]:
    faults = [fault(contender, answer) for answer in answers]
    for text in sorted({text for text in faults if text}):
        print(f"{contender.name}: {text}")
    return faults


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrivals", type=int, default=100, help="at each level (default %(default)s)")
    parser.add_argument("--levels", type=float, nargs="+", default=[0.4, 0.7, 0.85], help="shares of c's capacity")
    parser.add_argument("--contenders", default="abcd", help="some of abcd; c is always measured, as the reference")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=32, help="when capacity is measured (default %(default)s)")
    parser.add_argument("--capacity-pictures", type=int, default=96, help="made for a capacity (default %(default)s)")
    options = parser.parse_args()
    unknown = set(options.contenders) - CONTENDERS.keys()
    if unknown:
        parser.error(f"there is no contender {', '.join(sorted(unknown))}")
    options.contenders = sorted({*options.contenders, LOAD_IS_A_SHARE_OF})
    return options


if __name__ == "__main__":
    main()
