"""What the entry counts of clients' requests.

In place of BentoML's metrics, which have a series for every path that anybody ever asked for, with or without a key:
a thousand made-up paths took 4 MB, and seconds of each scrape.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from functools import cache
from types import SimpleNamespace

from starlette.types import Scope

from entry.http.paths import tidied
from runners.noted import Noted

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
OTHER = "other"


@cache
def _families() -> SimpleNamespace:
    """The metrics. Not made with the module: see runners/metrics.py."""
    from prometheus_client import Counter, Gauge, Histogram

    return SimpleNamespace(
        answered=Counter(
            "sdxl_relay_requests", "Requests answered; the key by its name.", ["endpoint", "status", "key"]
        ),
        at_work=Gauge(
            "sdxl_relay_requests_at_work", "Requests not ended yet.", ["endpoint"], multiprocess_mode="livesum"
        ),
        seconds=Histogram(
            "sdxl_relay_request_seconds", "From arrival to answer, without errors.", ["endpoint"], buckets=SECONDS
        ),
    )


class RequestMetrics:
    """Of all requests but probes and browsers' preflights, by endpoint; paths that are none count as one."""

    def __init__(self, endpoints: Collection[str]) -> None:
        self._endpoints = endpoints

    def at_work(self, scope: Scope) -> AbstractContextManager[None]:
        """Counts a request until the block ends."""
        counted: AbstractContextManager[None] = _families().at_work.labels(self._endpoint(scope)).track_inprogress()
        return counted

    def answered(self, scope: Scope, noted: Noted, status: int, seconds: float) -> None:
        """Counts an answer."""
        endpoint = self._endpoint(scope)
        _families().answered.labels(endpoint, status, noted.key).inc()
        if status < 400:
            _families().seconds.labels(endpoint).observe(seconds)

    def _endpoint(self, scope: Scope) -> str:
        path: str = tidied(scope)["path"]
        return path if path in self._endpoints else OTHER
