"""A client that goes away frees its rows by the next tick, in both stages."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.service.server import Server

SLOW: dict[str, Any] = {
    "prompt": "a green cone, white background",
    "num_inference_steps": 150,
    "width": 256,
    "height": 256,
}


def wait_for(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


@pytest.mark.parametrize(("stage", "fields"), [("base", {"refine": "none"}), ("refiner", {"high_noise_frac": 0.2})])
def test_a_client_that_leaves_frees_its_rows(server: Server, stage: str, fields: dict[str, Any]) -> None:
    labels = {"stage": stage}
    cancelled = server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled", **labels)
    ticks = server.metric("sdxl_relay_tick_rows_count", **labels)
    body = json.dumps({**SLOW, **fields}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /generate HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        wait_for(lambda: server.metric("sdxl_relay_tick_rows_count", **labels) > ticks)
    wait_for(lambda: server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled", **labels) == cancelled + 1)
    assert server.metric("sdxl_relay_jobs", **labels) == 0
    ticks = server.metric("sdxl_relay_tick_rows_count", **labels)
    time.sleep(0.5)
    assert server.metric("sdxl_relay_tick_rows_count", **labels) == ticks
    wait_for(lambda: requests_in_progress(server) == 0)


@pytest.mark.parametrize("body", [b"", b'{"prompt": "a green'])
def test_a_client_that_leaves_before_its_request_is_complete_is_forgotten(server: Server, body: bytes) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /generate HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n%s" % body
        )
        wait_for(lambda: requests_in_progress(server) == 1)
    wait_for(lambda: requests_in_progress(server) == 0)


def requests_in_progress(server: Server) -> float:
    """What the entry still works on; a server that stops waits for it."""
    return server.metric("sdxl_relay_requests_at_work", endpoint="/generate")
