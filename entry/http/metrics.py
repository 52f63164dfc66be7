"""What the entry counts of the requests of clients."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from starlette.types import Scope

from entry.http.paths import tidied
from runners.access_log import Ended
from runners.noted import Noted

OTHER = "other"
SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


@cache
def request_metrics() -> tuple[Any, Any]:
    """A counter and a histogram, made when the first request has come.

    Not with the module: prometheus_client must find PROMETHEUS_MULTIPROC_DIR (see runners/metrics.py).
    """
    from prometheus_client import Counter, Histogram

    return (
        Counter(
            "sdxl_relay_requests",
            "Requests answered, by endpoint, status and the name of the API key.",
            ["endpoint", "status", "key"],
        ),
        Histogram(
            "sdxl_relay_request_seconds", "From a request's arrival to its answer.", ["endpoint"], buckets=SECONDS
        ),
    )


def count_by(endpoints: Collection[str]) -> Ended:
    """Counts requests, those to all other paths as one endpoint: clients could make up any number of them."""

    def count(scope: Scope, noted: Noted, status: int, seconds: float) -> None:
        path = tidied(scope)["path"]
        endpoint = path if path in endpoints else OTHER
        total, duration = request_metrics()
        total.labels(endpoint, status, noted.key).inc()
        duration.labels(endpoint).observe(seconds)

    return count
