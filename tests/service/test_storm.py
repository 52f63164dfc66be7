"""Clients that leave at random moments: the others' pictures are right, and nothing of theirs stays behind."""

from __future__ import annotations

from benchmarks.soak import requests_of_a_storm, storm
from tests.service.server import Server


def test_half_of_forty_clients_leave(server: Server) -> None:
    requests = requests_of_a_storm(40)
    alone = [server.generate(**request) for request in requests[::2]]
    cancelled = server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled")
    assert storm(server, requests, alone, seed=1)
    assert server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled") > cancelled
