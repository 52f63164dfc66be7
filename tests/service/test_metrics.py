"""/metrics tells of every stage, and the dashboard asks for nothing that is not there."""

from __future__ import annotations

import json
import re

import httpx

from tests.service.server import ROOT, Server


def published(server: Server) -> set[str]:
    """The names of the series, as a query would name them."""
    text = httpx.get(f"{server.url}/metrics", timeout=30).text
    return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line.startswith("sdxl_relay_")}


def test_the_dashboard_asks_for_metrics_that_exist_and_for_all_of_them(server: Server) -> None:
    server.generate(prompt="a red cube", num_inference_steps=5)
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    names = {name for expression in asked for name in re.findall(r"sdxl_relay_\w+", expression)}
    there = published(server)
    assert names <= there
    suffixes = r"_(bucket|sum|count|total)$"
    assert {re.sub(suffixes, "", name) for name in names} == {re.sub(suffixes, "", name) for name in there}


def test_a_picture_is_counted_in_both_stages(server: Server) -> None:
    def counted() -> list[float]:
        return [
            server.metric(name, stage=stage)
            for stage in ("base", "refiner")
            for name in (
                "sdxl_relay_tick_seconds_count",
                "sdxl_relay_tick_rows_sum",
                "sdxl_relay_queue_seconds_count",
                "sdxl_relay_encode_seconds_count",
                "sdxl_relay_decode_seconds_count",
                "sdxl_relay_handoff_seconds_count",
                "sdxl_relay_jobs_model_total",
            )
        ]

    before = counted()
    server.generate(prompt="a red cube", num_inference_steps=10, guidance_scale=5.0)
    # 8 and 2 steps of two rows; the base makes no picture, and each of the two has its hand-off
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [
        *(8, 16, 1, 1, 0, 1, 1),
        *(2, 4, 1, 1, 1, 1, 1),
    ]


def test_a_negative_prompt_that_comes_again_is_not_encoded_again(server: Server) -> None:
    def lookups(cache: str) -> float:
        return server.metric("sdxl_relay_prompts_encoded_total", stage="base", cache=cache)

    hits, misses = lookups("hit"), lookups("miss")
    for noun in ("cube", "cone", "sphere"):
        server.generate(
            prompt=f"a lone {noun}", negative_prompt="blurred, seen once", num_inference_steps=2, guidance_scale=3.0
        )
    assert (lookups("hit") - hits, lookups("miss") - misses) == (2, 4)
