"""What stays behind: `python -m benchmarks.soak`. Takes some 15 minutes on two cores.

First, 20 times over, 40 requests at once, of which every other client leaves at a random moment: the rest must get
the pictures that they get alone, and the gauges must come to 0. Then 2,000 requests in a row: the resident
memory of every process, by a line through what is read after every 50th.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from tests.service.reference import distance
from tests.service.server import Server, pixels, serving

RESULT = Path(__file__).parent / "results" / "soak.json"
STORMS, CLIENTS, IN_A_ROW, READ_EVERY = 20, 40, 2_000, 50
Picture = NDArray[np.uint8]


def requests_of_a_storm(count: int) -> list[dict[str, Any]]:
    """Small pictures of unlike kinds."""
    modes = ("ensemble", "none", "sdedit")
    sizes: tuple[dict[str, int], ...] = ({}, {"width": 96, "height": 64})
    return [
        {"prompt": "a red cube, white background", "seed": i, "num_inference_steps": 4 + i % 5,
         "refine": modes[i % 3], "guidance_scale": (1.0, 4.0)[i % 2], **sizes[i % 2]}
        for i in range(count)
    ]  # fmt: skip


def storm(server: Server, requests: list[dict[str, Any]], alone: list[Picture], seed: int) -> bool:
    """Sends all requests at once; every second client leaves. Whether all is as it must be afterwards."""
    dice = random.Random(seed)

    def leave(request: dict[str, Any], after_s: float) -> None:
        with suppress(httpx.TimeoutException):
            httpx.post(f"{server.url}/generate", json=request, timeout=after_s)

    with ThreadPoolExecutor(len(requests)) as pool:
        for request in requests[1::2]:
            pool.submit(leave, request, dice.uniform(0.01, 4.0))
        stayed = list(pool.map(lambda request: server.post("/generate", json=request), requests[::2]))
    right = [distance(pixels(answer), picture) <= 2 for answer, picture in zip(stayed, alone, strict=True)]
    return all(right) and _comes_to_rest(server)


def _comes_to_rest(server: Server) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        jobs = server.metric("sdxl_relay_jobs")
        requests = server.metric("sdxl_relay_requests_at_work", endpoint="/generate")
        if jobs == requests == 0:
            return True
        time.sleep(0.1)
    return False


def memory_mb(server: Server) -> dict[str, float]:
    """Resident memory of the server's processes, by the service that each runs."""
    return {name: process.memory_info().rss / 1e6 for name, process in server.workers().items()}


def in_a_row(server: Server, count: int) -> dict[str, Any]:
    """Megabytes at the beginning (after a tenth) and at the end, and the slope between, per 1,000 requests."""
    readings: list[tuple[int, dict[str, float]]] = []
    for i in range(count):
        answer = server.post("/generate", json={"prompt": f"a red cube, {i}", "seed": i, "num_inference_steps": 3})
        assert answer.status_code == 200, answer.text
        if i % READ_EVERY == 0:
            readings.append((i, memory_mb(server)))
    settled = readings[len(readings) // 10 :]  # the caches are filling before
    at = [i for i, _ in settled]
    report = {}
    for name in settled[0][1]:
        values = [reading[name] for _, reading in settled]
        slope = float(np.polyfit(at, values, 1)[0])
        report[name] = {"first": round(values[0], 1), "last": round(values[-1], 1), "slope": round(1_000 * slope, 2)}
    return report


def main(storms: int, count: int) -> None:
    with tempfile.TemporaryDirectory() as home, serving(Path(home), SDXL_MAX_ROWS=16) as server:
        requests = requests_of_a_storm(CLIENTS)
        alone = [server.generate(**request) for request in requests[::2]]
        passed = [storm(server, requests, alone, seed) for seed in range(storms)]
        ended = {
            outcome: server.metric("sdxl_relay_jobs_ended_total", outcome=outcome)
            for outcome in ("done", "cancelled", "failed", "late", "refused")
        }
        document = {
            "storms": storms,
            "storms_passed": sum(passed),
            "jobs_ended": ended,
            "requests_in_a_row": count,
            "memory_mb": in_a_row(server, count),
        }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]) if len(sys.argv) > 1 else (STORMS, IN_A_ROW))
