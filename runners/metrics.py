"""What a runner counts; the entry's /metrics adds up all processes of a host."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, get_args

from sdxl.config.settings import StageName
from stepbatch.job import Job, Phase
from stepbatch.observer import Outcome
from stepbatch.policy import Reason, reason_to_wait

if TYPE_CHECKING:
    from prometheus_client import Gauge

LoadKind = Literal["model", "lora"]  # of a load

ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256)
SECONDS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
BYTES = tuple(4**power * 1024 for power in range(9))  # 1 KiB to 64 MiB


@cache
def _families() -> SimpleNamespace:
    """The metrics of all stages of this process, without their stage.

    Not made with the module: prometheus_client must find PROMETHEUS_MULTIPROC_DIR, which BentoML sets only after it
    has imported the service's module.
    """
    from prometheus_client import Counter, Gauge, Histogram

    def histogram(name: str, text: str, *labels: str, buckets: Sequence[float] = SECONDS) -> Histogram:
        return Histogram(f"sdxl_relay_{name}", text, ["stage", *labels], buckets=buckets)

    def gauge(name: str, text: str) -> Gauge:
        return Gauge(f"sdxl_relay_{name}", text, ["stage"], multiprocess_mode="livesum")

    def counter(name: str, text: str, label: str) -> Counter:
        return Counter(f"sdxl_relay_{name}", text, ["stage", label])

    return SimpleNamespace(
        jobs=Gauge("sdxl_relay_jobs", "Jobs held, by state.", ["stage", "state"], multiprocess_mode="livesum"),
        row_limit=Gauge(
            "sdxl_relay_row_limit",
            "The most rows of a UNet call at the checkpoint's native size.",
            ["stage"],
            multiprocess_mode="livemax",
        ),
        models=gauge("models_resident", "Models that are loaded."),
        models_bytes=gauge("models_bytes", "What the loaded models and LoRAs take; what models share counts once."),
        models_budget=gauge("models_budget_bytes", "What a stage's models and LoRAs may take together."),
        jobs_model=counter("jobs_model", "Jobs by whether their model was loaded when they came.", "found"),
        ended=counter("jobs_ended", "Jobs by how they ended.", "outcome"),
        waited=counter("jobs_waited_seconds", "Seconds that jobs waited, by what they waited for.", "reason"),
        prompts=counter("prompts_encoded", "Prompts, by whether the stage still knew them.", "cache"),
        rows=histogram("tick_rows", "Rows of a UNet call.", buckets=ROWS),
        tick=histogram("tick_seconds", "A tick: UNet call, guidance and samplers."),
        queue=histogram("queue_seconds", "From a job's arrival until its preparation begins."),
        load=histogram("load_seconds", "The load of a model or a LoRA while the stage serves.", "kind"),
        encode=histogram("encode_seconds", "A job's preparation: it encodes prompts and makes the first latents."),
        decode=histogram("decode_seconds", "The decoding of latents to a picture."),
        handoff=histogram("handoff_seconds", "The time to write a hand-off (base) or to read it (refiner)."),
        handoff_bytes=histogram("handoff_bytes", "The size of a hand-off.", buckets=BYTES),
    )


class StageMetrics:
    """The Prometheus metrics of one stage, and its engine's observer. Made when BentoML has started the service."""

    def __init__(self, stage: StageName) -> None:
        self._stage = stage
        families = _families()
        self._waiting, self._running = (families.jobs.labels(stage, state) for state in ("waiting", "running"))
        self._ended, self._waited, self._prompts = families.ended, families.waited, families.prompts
        self._jobs_model, self._load = families.jobs_model, families.load
        self._models, self._models_bytes, self._models_budget = (
            getattr(families, name).labels(stage) for name in ("models", "models_bytes", "models_budget")
        )
        self.row_limit: Gauge = families.row_limit.labels(stage)
        self._rows, self._tick, self._queue, self._encode, self._decode = (
            getattr(families, name).labels(stage) for name in ("rows", "tick", "queue", "encode", "decode")
        )
        self._handoff, self._handoff_bytes = (
            getattr(families, name).labels(stage) for name in ("handoff", "handoff_bytes")
        )
        # A series that is there from the start can be asked for its rate before the first event.
        for labels, family in (
            ((*get_args(Outcome), "refused"), self._ended),
            (get_args(Reason), self._waited),
            (("hit", "miss"), self._prompts),
            (("hit", "miss"), self._jobs_model),
            (get_args(LoadKind), self._load),
        ):
            for label in labels:
                family.labels(stage, label)

    def worked(
        self, phase: Phase, chosen: Sequence[Job[Any]], waiting: Sequence[Job[Any]], seconds: float, rows: int
    ) -> None:
        """See `Observer.worked`."""
        if phase is Phase.PREPARE:
            self._encode.observe(seconds)
            self._queue.observe(chosen[0].timings.queue_ms / 1000)
        elif phase is Phase.DENOISE:
            self._tick.observe(seconds)
            self._rows.observe(rows)
        for job in waiting:
            self._waited.labels(self._stage, reason_to_wait(job, phase, chosen)).inc(seconds)

    def rested(self, waiting: Sequence[Job[Any]], seconds: float) -> None:
        """See `Observer.rested`."""
        self._waited.labels(self._stage, "load").inc(seconds * len(waiting))

    def jobs_held(self, waiting: int, running: int) -> None:
        """See `Observer.jobs_held`."""
        self._waiting.set(waiting)
        self._running.set(running)

    def ended(self, job: Job[Any], outcome: Outcome) -> None:  # noqa: ARG002 (an Observer's)
        """See `Observer.ended`."""
        self._ended.labels(self._stage, outcome).inc()

    def refused(self) -> None:
        """Counts a job that the engine has not taken in."""
        self._ended.labels(self._stage, "refused").inc()

    def came(self, *, model_is_there: bool) -> None:
        """Counts a job that the engine has taken in."""
        self._jobs_model.labels(self._stage, "hit" if model_is_there else "miss").inc()

    def loaded(self, kind: LoadKind, seconds: float) -> None:
        """Counts what was loaded while the stage served."""
        self._load.labels(self._stage, kind).observe(seconds)

    def resident(self, models: int, used_bytes: int, budget_bytes: int) -> None:
        """Tells what is loaded now, and what it may take."""
        self._models.set(models)
        self._models_bytes.set(used_bytes)
        self._models_budget.set(budget_bytes)

    def decoded(self, seconds: float) -> None:
        """Counts a decoded picture."""
        self._decode.observe(seconds)

    def handed_off(self, size_bytes: int, seconds: float) -> None:
        """Counts a hand-off, written or read."""
        self._handoff.observe(seconds)
        self._handoff_bytes.observe(size_bytes)

    def encoded(self, was_kept: bool) -> None:
        """Counts a prompt, and whether the text encoders were spared."""
        self._prompts.labels(self._stage, "hit" if was_kept else "miss").inc()
