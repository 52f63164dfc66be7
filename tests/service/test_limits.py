"""A full queue, a time limit and a lost runner are said with their status, and pass."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.service.server import Server, serving
from tests.service.test_batch import waiting_client
from tests.service.test_disconnect import wait_for

QUICK: dict[str, Any] = {"prompt": "a green cone, white background", "num_inference_steps": 6, "seed": 1}
SLOW: dict[str, Any] = {**QUICK, "num_inference_steps": 150, "width": 512, "height": 512, "refine": "none"}
TIMEOUT_S = 5


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with room for two jobs a stage, and 5 seconds for a request."""
    home = tmp_path_factory.mktemp("bentoml")
    with serving(home, SDXL_MAX_JOBS=2, SDXL_TIMEOUT_S=TIMEOUT_S, SDXL_MAX_ROWS=2) as running:
        yield running


def works_again(server: Server) -> bool:
    return server.post("/generate", json=QUICK).status_code == 200


def test_a_full_queue_and_a_time_limit(small_server: Server) -> None:
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: small_server.post("/generate", json=SLOW), range(6)))
    assert sorted(answer.status_code for answer in answers) == [429] * 4 + [504] * 2
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status_code == 429)
    assert all(answer.json()["error"] for answer in answers)
    wait_for(lambda: works_again(small_server))


def test_a_request_brings_its_own_time_limit(small_server: Server) -> None:
    late = small_server.metric("sdxl_relay_jobs_ended_total", outcome="late")
    started_s = time.monotonic()
    answer = small_server.post("/generate", json=SLOW, headers={"X-Timeout-S": "1.5"})
    assert answer.status_code == 504, answer.text
    assert time.monotonic() - started_s < 4
    assert small_server.metric("sdxl_relay_jobs_ended_total", outcome="late") == late + 1


@pytest.mark.parametrize(
    ("header", "value", "allowed"),
    [
        ("X-Timeout-S", "6", "from 0 to 5"),
        ("X-Timeout-S", "-1", "from 0 to 5"),
        ("X-Timeout-S", "nan", "from 0 to 5"),
        ("X-Timeout-S", "soon", "from 0 to 5"),
        ("X-Priority", "high", "normal or low"),
    ],
)
def test_a_header_out_of_bounds_is_named(small_server: Server, header: str, value: str, allowed: str) -> None:
    answer = small_server.post("/generate", json=QUICK, headers={header: value})
    assert answer.status_code == 400
    assert answer.json()["field"] == header
    assert value in answer.json()["error"]
    assert allowed in answer.json()["error"]


def test_low_priority_yields(small_server: Server) -> None:
    """Of two pictures of the same work, the later one overtakes, though the first has begun."""
    ended: list[str] = []

    def post(priority: str) -> None:
        request = {**QUICK, "num_inference_steps": 20, "refine": "none"}
        assert small_server.post("/generate", json=request, headers={"X-Priority": priority}).status_code == 200
        ended.append(priority)

    ticks = small_server.metric("sdxl_relay_tick_rows_count", stage="base")
    with ThreadPoolExecutor(2) as pool:
        low = pool.submit(post, "low")
        wait_for(lambda: small_server.metric("sdxl_relay_tick_rows_count", stage="base") > ticks)
        pool.submit(post, "normal").result()
        low.result()
    assert ended == ["normal", "low"]


def test_lists_over_the_time_limit(small_server: Server) -> None:
    started_s = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda _: small_server.post("/generate_batch", json={"requests": [SLOW, SLOW]}), range(4))
        )
    took_s = time.monotonic() - started_s
    # There are places for two lists, and at work for one item; the time counts from a list's coming.
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status_code == 429)
    errors = [result["error"] for answer in answers if answer.status_code == 200 for result in answer.json()]
    assert [error["status"] for error in errors] == [504] * 4
    assert took_s < 2 * TIMEOUT_S
    wait_for(lambda: works_again(small_server))


def test_an_item_is_told_of_a_full_queue(small_server: Server) -> None:
    with waiting_client(small_server, SLOW, "/generate"), waiting_client(small_server, SLOW, "/generate"):
        wait_for(lambda: small_server.metric("sdxl_relay_jobs", stage="base") == 2)
        bad = {**QUICK, "seed": -1}
        answer = small_server.post("/generate_batch", json={"requests": [QUICK, bad]})
    assert [result["error"]["status"] for result in answer.json()] == [429, 400]
    assert answer.json()[0]["error"]["retry_after_s"] > 0
    wait_for(lambda: works_again(small_server))


def test_a_lost_runner_is_a_503_and_comes_back(small_server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        ticks = small_server.metric("sdxl_relay_tick_rows_count", stage="base")
        pending = pool.submit(small_server.post, "/generate", json=SLOW)
        wait_for(lambda: small_server.metric("sdxl_relay_tick_rows_count", stage="base") > ticks)
        small_server.workers()["sdxl_base"].kill()
        answer = pending.result()
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert "base runner" in answer.json()["error"]
    assert small_server.metric("sdxl_relay_jobs", stage="base") == 0, "a killed process leaves no ghost in a gauge"
    wait_for(lambda: works_again(small_server))
