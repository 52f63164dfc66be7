"""One request at a time: the running service against the model cards' own code in one process.

The same work in turn, A B A B …, on the mini checkpoint: 30 Euler steps, 24 by the base and 6 by the refiner,
with guidance in both. Prints both medians, the median of the ratios pair by pair, and where the service's
time goes (Server-Timing); writes the same as JSON to `benchmarks/results/request.json`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from tests.service.reference import Reference, distance
from tests.service.server import ROOT, pixels, serving

RUNS = 15
WARM_UP_RUNS = 3
REQUEST: dict[str, Any] = {"prompt": "a red cube on top of a blue sphere, yellow background", "num_inference_steps": 30,
           "guidance_scale": 3.0, "watermark": False}  # fmt: skip
RESULTS = Path(__file__).parent / "results"


def main(runs: int = RUNS) -> None:
    reference = Reference(ROOT / "checkpoints" / "mini")
    plain = {name: value for name, value in REQUEST.items() if name != "watermark"}
    service_ms, cards_ms, phases = [], [], []
    with tempfile.TemporaryDirectory() as home, serving(Path(home)) as server:
        for run in range(-WARM_UP_RUNS, runs):
            seed = max(run, 0)
            started = time.perf_counter()
            answer = server.post("/generate", json={**REQUEST, "seed": seed})
            middle = time.perf_counter()
            picture = reference.generate(seed=seed, **plain)
            ended = time.perf_counter()
            assert distance(pixels(answer), picture) <= 2, "not the same picture"
            if run >= 0:
                service_ms.append(1000 * (middle - started))
                cards_ms.append(1000 * (ended - middle))
                phases.append(_phases(answer.headers["server-timing"]))
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "runs": runs,
        "service_ms": round(median(service_ms), 1),
        "model_cards_code_ms": round(median(cards_ms), 1),
        "ratio": round(median(a / b for a, b in zip(service_ms, cards_ms, strict=True)), 3),
        "server_timing_ms": {name: round(median(p[name] for p in phases), 1) for name in phases[0]},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "request.json").write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(document, indent=2))


def _phases(header: str) -> dict[str, float]:
    return {name: float(ms) for name, ms in (part.split(";dur=") for part in header.split(", "))}


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS)
