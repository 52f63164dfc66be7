"""BentoML's tasks: a picture that is made while its client does something else."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.service.server import Server
from tests.service.test_clients import run_python
from tests.service.test_disconnect import SLOW, wait_for

REQUEST: dict[str, Any] = {"prompt": "a red cube, white background", "seed": 4, "num_inference_steps": 8}


def submit(server: Server, **fields: Any) -> str:
    answer = server.post("/generate/submit", json=fields)
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id


def status(server: Server, task_id: str) -> str:
    said: str = httpx.get(f"{server.url}/generate/status", params={"task_id": task_id}, timeout=30).json()["status"]
    return said


def result(server: Server, task_id: str) -> httpx.Response:
    wait_for(lambda: status(server, task_id) != "in_progress")
    return httpx.get(f"{server.url}/generate/get", params={"task_id": task_id}, timeout=30)


def test_a_task_gives_the_picture_of_generate(server: Server) -> None:
    begun = time.monotonic()
    task_id = submit(server, **REQUEST)
    assert time.monotonic() - begun < 5
    made = result(server, task_id)
    direct = server.post("/generate", json=REQUEST)
    assert (made.status_code, made.content) == (200, direct.content)
    assert made.headers["x-seed"] == "4"
    again = server.post("/generate/retry", params={"task_id": task_id}).json()["task_id"]
    assert result(server, again).content == direct.content


def test_a_cancelled_task_frees_its_rows(server: Server) -> None:
    ended = {"stage": "base", "outcome": "cancelled"}
    cancelled = server.metric("sdxl_relay_jobs_ended_total", **ended)
    ticks = server.metric("sdxl_relay_tick_rows_count", stage="base")
    task_id = submit(server, **SLOW)
    wait_for(lambda: server.metric("sdxl_relay_tick_rows_count", stage="base") > ticks)
    answer = httpx.put(f"{server.url}/generate/cancel", params={"task_id": task_id}, timeout=30)
    assert (answer.status_code, answer.json()) == (200, {"task_id": task_id, "status": "canceled"})
    assert status(server, task_id) == "canceled"
    wait_for(lambda: server.metric("sdxl_relay_jobs_ended_total", **ended) == cancelled + 1)
    again = httpx.put(f"{server.url}/generate/cancel", params={"task_id": task_id}, timeout=30)
    assert (again.status_code, again.json()["field"]) == (404, "task_id")


@pytest.mark.parametrize("query", [{}, {"task_id": ""}, {"task_id": "x" * 1_000}, {"task_id": "ä\0'"}])
@pytest.mark.parametrize(("method", "path"), [("GET", "status"), ("GET", "get"), ("PUT", "cancel"), ("POST", "retry")])
def test_a_task_that_is_not_there(server: Server, method: str, path: str, query: dict[str, str]) -> None:
    answer = httpx.request(method, f"{server.url}/generate/{path}", params=query, timeout=30)
    assert answer.status_code in (400, 404)
    assert "task_id" in answer.text
    assert len(answer.text) < 300


def test_what_cannot_be_made_is_refused_at_once_or_ends_as_failed(server: Server) -> None:
    refused = server.post("/generate/submit", json={"prompt": "a cube", "width": 70})
    assert (refused.status_code, refused.json()["field"]) == (400, "width")
    task_id = submit(server, prompt="a cube", clip_skip=30)  # only the runner knows its encoders' depth
    failed = result(server, task_id)
    assert (status(server, task_id), failed.status_code, failed.json()["field"]) == ("failed", 400, "clip_skip")


def test_bentomls_asynchronous_client(server: Server, tmp_path: Any) -> None:
    code = """
import asyncio, bentoml
async def main():
    async with bentoml.AsyncHTTPClient("http://127.0.0.1:3000") as client:
        task = await client.generate.submit(prompt="a red cube, white background", seed=4, num_inference_steps=8)
        while (await task.get_status()).value == "in_progress":
            await asyncio.sleep(0.1)
        path = await task.get()
        print(path.read_bytes()[:4] == b"\\x89PNG")
asyncio.run(main())
"""
    done = run_python(code, server, tmp_path)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
