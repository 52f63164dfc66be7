"""What the entry counts of its calls to the stages."""

from __future__ import annotations

from collections.abc import Iterable

from entry.fleet.replica import REASONS, Reason


class CallMetrics:
    """The Prometheus metrics of all calls. Made once a process, when BentoML starts it."""

    def __init__(self, stages: Iterable[str]) -> None:
        # Not at the top: prometheus_client must find PROMETHEUS_MULTIPROC_DIR (see runners/metrics.py).
        from prometheus_client import Counter, Gauge

        self._ready = Gauge(
            "sdxl_relay_replicas_ready", "Replicas that may get jobs.", ["stage"], multiprocess_mode="livemax"
        )
        self._retried = Counter(
            "sdxl_relay_calls_retried", "Calls to a replica that failed, by why.", ["stage", "reason"]
        )
        for stage in stages:
            for reason in REASONS:
                self._retried.labels(stage, reason)

    def ready(self, stage: str, replicas: int) -> None:
        """Tells how many replicas of a stage may get jobs."""
        self._ready.labels(stage).set(replicas)

    def retried(self, stage: str, reason: Reason) -> None:
        """Counts a call after which the job goes elsewhere."""
        self._retried.labels(stage, reason).inc()
