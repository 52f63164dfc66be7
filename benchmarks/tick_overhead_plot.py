"""What the engine adds, in one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

GOAL_US = 300.0


def plot(results: Mapping[str, Mapping[str, Any]], parts: Sequence[str], path: Path) -> None:
    """Writes a bar of `parts` and a mark for diffusers' own loop, in µs, for each case by its name."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    names = list(results)[::-1]
    left = [0.0] * len(names)
    for part in parts:
        widths = [results[name][part] for name in names]
        axes.barh(names, widths, left=left, label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.scatter([results[name]["loop"] for name in names], names, color="black", marker="|", s=160, label="loop")
    axes.axvline(GOAL_US, color="grey", linestyle="--", label="goal")
    axes.set(xlabel="µs per job and tick", ylabel="sampler, jobs x rows of each", title="What the engine adds")
    axes.legend(ncols=2)
    figure.savefig(path, dpi=120)
