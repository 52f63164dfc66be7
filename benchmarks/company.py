"""What the same bytes in any company cost: `python -m benchmarks.company`.

24 unlike requests, one after the other and then all at once, by a server with SDXL_MAX_ROWS and by one with
SDXL_FIXED_ROWS of as many rows, in turn, several rounds over; medians. Tells, too, how far a picture in
company is from the same alone.
"""

from __future__ import annotations

import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from tests.service.reference import distance
from tests.service.server import Server, pixels, serving
from tests.service.test_company import unlike_requests

ROWS, COUNT, ROUNDS = 8, 24, 3
RESULT = Path(__file__).parent / "results" / "company.json"


def measure(server: Server, requests: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds alone and at once, pictures with other bytes in company, and levels that they are apart at most."""

    def post(request: dict[str, Any]) -> bytes:
        answer = server.post("/generate", json=request)
        assert answer.status_code == 200, answer.text
        return answer.content

    begun = time.perf_counter()
    alone = [post(request) for request in requests]
    between = time.perf_counter()
    with ThreadPoolExecutor(len(requests)) as pool:
        answers = list(pool.map(lambda request: server.post("/generate", json=request), requests))
    ended = time.perf_counter()
    levels = [
        distance(pixels(answer), pixels(server.post("/generate", json=request)))
        for answer, request in zip(answers, requests, strict=True)
    ]
    return {
        "one_by_one_s": between - begun,
        "at_once_s": ended - between,
        "other_bytes": sum(answer.content != picture for answer, picture in zip(answers, alone, strict=True)),
        "levels_apart": max(levels),
    }


def main() -> None:
    requests = unlike_requests(COUNT)
    measured: dict[str, list[dict[str, float]]] = {"SDXL_MAX_ROWS": [], "SDXL_FIXED_ROWS": []}
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        serving(Path(one), SDXL_MAX_ROWS=ROWS) as most,
        serving(Path(other), SDXL_FIXED_ROWS=ROWS) as fixed,
    ):
        for _ in range(ROUNDS):
            measured["SDXL_MAX_ROWS"].append(measure(most, requests))
            measured["SDXL_FIXED_ROWS"].append(measure(fixed, requests))
    document = {
        name: {key: round(median(each[key] for each in rounds), 2) for key in rounds[0]}
        for name, rounds in measured.items()
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"rows": ROWS, "requests": COUNT, **document}, indent=1) + "\n")
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
