"""Company changes nothing: unlike requests at once give the pictures that each gives alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from typing import Any

from sdxl.request.samplers import SAMPLERS
from tests.service.reference import distance
from tests.service.server import Server

PROMPTS = ("a red cube on top of a blue sphere, yellow background", "a green cone, white background",
           "an orange cylinder left of a purple cube, gray background")  # fmt: skip


def unlike_requests(count: int) -> list[dict[str, Any]]:
    one, other, third = ({"width": width, "height": height} for width, height in ((64, 64), (96, 64), (64, 80)))
    sizes = cycle([one, other, one, third, one])
    steps, guidances = cycle([8, 12, 18, 10]), cycle([1.0, 3.0, 5.0])
    modes = cycle(["ensemble", "ensemble", "sdedit", "none"])
    return [{"prompt": PROMPTS[i % 3], "seed": i, "scheduler": scheduler, "num_inference_steps": next(steps),
             "guidance_scale": next(guidances), "refine": next(modes), **next(sizes)}
            for i, scheduler in enumerate(islice(cycle(SAMPLERS), count))]  # fmt: skip


def test_11_unlike_requests_at_once(server: Server) -> None:
    requests = unlike_requests(11)
    alone = [server.generate(**request) for request in requests]
    before = (
        server.metric("sdxl_relay_tick_rows_count", stage="base"),
        server.metric("sdxl_relay_tick_rows_sum", stage="base"),
    )
    with ThreadPoolExecutor(11) as pool:
        together = list(pool.map(lambda request: server.generate(**request), requests))
    ticks = server.metric("sdxl_relay_tick_rows_count", stage="base") - before[0]
    rows = server.metric("sdxl_relay_tick_rows_sum", stage="base") - before[1]
    assert [distance(one, other) <= 2 for one, other in zip(alone, together, strict=True)] == [True] * 11
    assert rows / ticks > 3
