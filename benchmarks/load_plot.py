"""The whole comparison in one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.load_arrivals import STEPS
from benchmarks.load_report import Figures, Level

COLOURS = {"a": "#8c8c8c", "b": "#d98c21", "c": "#5aa9e0", "d": "#17407f"}
FEW, MANY = STEPS[0], STEPS[-1]


def plot(names: Mapping[str, str], levels: Sequence[Level], path: Path) -> None:
    """Writes three latencies over the load, in a logarithmic scale."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    mean, few, many = figure.subplots(1, 3, sharey=True)
    _draw(mean, "mean latency", names, levels, lambda of: of.mean_s)
    _draw(few, f"p95 of {FEW} steps", names, levels, lambda of: of.p95_by_steps_s[FEW])
    _draw(many, f"p99 of {MANY} steps", names, levels, lambda of: of.p99_by_steps_s[MANY])
    mean.set_ylabel("seconds")
    mean.legend()
    figure.savefig(path, dpi=120)


def _draw(
    axes: Axes, title: str, names: Mapping[str, str], levels: Sequence[Level], value: Callable[[Figures], float]
) -> None:
    for key in levels[0].figures:
        shares = [100 * level.share for level in levels]
        axes.plot(
            shares,
            [value(level.figures[key]) for level in levels],
            marker="o",
            color=COLOURS[key],
            label=f"{key}: {names[key]}",
        )
    axes.set(title=title, xlabel="load, % of the capacity of c", yscale="log")
    axes.grid(which="both", alpha=0.3)
