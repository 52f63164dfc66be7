"""What ending the guidance early changes: `python -m benchmarks.guidance_end`.

Prompts that the mini checkpoint has never seen, each with the same seed at every guidance_end: rows of UNet calls,
time in ticks, levels between the pictures with guidance to the end and those without, and what the judge finds right.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.service.server import Server, pixels, serving
from training.judge import judge
from training.scenes import scenes

COUNT, SEED = 24, 4242
GUIDANCES = (3.0, 5.0)  # of both stages
ENDS = (1.0, 0.8, 0.5, 0.3)
RESULT = Path(__file__).parent / "results" / "guidance_end.json"


def ticks_s(answer: httpx.Response) -> float:
    """Seconds in both stages' denoising, by Server-Timing."""
    pairs = dict(part.strip().split(";dur=") for part in answer.headers["server-timing"].split(","))
    return (float(pairs["base"]) + float(pairs["refiner"])) / 1000


def rows(server: Server) -> float:
    return sum(server.metric("sdxl_relay_tick_rows_sum", stage=stage) for stage in ("base", "refiner"))


@dataclass
class Tally:
    """Of the pictures with one guidance_end."""

    rows: list[float] = field(default_factory=list)
    ticks_s: list[float] = field(default_factory=list)
    levels_apart: list[float] = field(default_factory=list)
    right: int = 0

    def as_json(self) -> dict[str, float]:
        return {
            "rows": mean(self.rows),
            "ticks_s": median(self.ticks_s),
            "levels_apart": mean(self.levels_apart),
            "right": self.right,
        }


def measure(server: Server, guidance: float) -> dict[float, Tally]:
    """By guidance_end; in turn for each prompt, so that a busy minute of the machine counts for all."""
    tallies = {end: Tally() for end in ENDS}
    for seed, scene in enumerate(scenes(SEED, COUNT, held_out=True)):
        whole: NDArray[np.uint8] | None = None
        for end, tally in tallies.items():
            before = rows(server)
            fields = {"prompt": scene.caption, "seed": seed, "guidance_scale": guidance, "guidance_end": end}
            answer = server.post("/generate", json=fields)
            picture = pixels(answer)
            whole = picture if whole is None else whole
            tally.rows.append(rows(server) - before)
            tally.ticks_s.append(ticks_s(answer))
            tally.levels_apart.append(float(np.abs(whole.astype(int) - picture).mean()))
            tally.right += bool(judge(picture, scene).all_right)  # numpy has bools of its own
    return tallies


def main() -> None:
    with tempfile.TemporaryDirectory() as home, serving(Path(home), SDXL_MAX_ROWS=8) as server:
        measured = {guidance: measure(server, guidance) for guidance in GUIDANCES}
    print(f"| guidance | guidance_end | rows | ms in ticks | levels apart | right of {COUNT} |")
    print("|---|---|---|---|---|---|")
    entries = []
    for guidance, tallies in measured.items():
        for end, tally in tallies.items():
            told = tally.as_json()
            entries.append({"guidance_scale": guidance, "guidance_end": end, **told})
            print(
                f"| {guidance:g} | {end:g} | {told['rows']:g} | {1000 * told['ticks_s']:.0f}"
                f" | {told['levels_apart']:.2f} | {told['right']} |"
            )
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(entries, indent=1))


if __name__ == "__main__":
    main()
