"""What a runner counts; the entry's /metrics adds up all processes of a host."""

from __future__ import annotations

from typing import Literal

Outcome = Literal["done", "cancelled", "failed", "refused"]


class StageMetrics:
    """The Prometheus metrics of one stage. Made once a process, when BentoML starts the service in it."""

    def __init__(self, stage: str) -> None:
        # Not at the top: prometheus_client must find PROMETHEUS_MULTIPROC_DIR, which BentoML sets only after
        # it has imported the service's module.
        from prometheus_client import Counter, Gauge

        labels = {"stage": stage}
        self._ticks = Counter("sdxl_relay_ticks", "Batched UNet calls.", [*labels]).labels(**labels)
        self._rows = Counter("sdxl_relay_rows", "Rows of all UNet calls.", [*labels]).labels(**labels)
        self._jobs = Gauge(
            "sdxl_relay_jobs", "Jobs waiting or running.", [*labels], multiprocess_mode="livesum"
        ).labels(**labels)
        self._ended = Counter("sdxl_relay_jobs_ended", "Jobs by how they ended.", [*labels, "outcome"])
        self._stage = stage

    def tick(self, rows: int) -> None:
        """Counts a UNet call of `rows` rows."""
        self._ticks.inc()
        self._rows.inc(rows)

    def entered(self) -> None:
        """Counts a job that the engine has taken in."""
        self._jobs.inc()

    def left(self, outcome: Outcome) -> None:
        """Counts a job that has left the engine."""
        self._jobs.dec()
        self._ended.labels(stage=self._stage, outcome=outcome).inc()

    def refused(self) -> None:
        """Counts a job that the engine has not taken in."""
        self._ended.labels(stage=self._stage, outcome="refused").inc()
