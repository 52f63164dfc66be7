"""What both stages' services have in common.

Nothing here imports torch: only the process that serves a stage loads it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import bentoml

from runners.access_log import INSTEAD
from runners.door import Door
from runners.gauges import keep_metrics_apart
from runners.gpus import take_over_allocation
from runners.log import set_up_log
from sdxl.catalog.start import settings_or_exit
from sdxl.version import VERSION

if TYPE_CHECKING:
    from runners.stage import Stage

SETTINGS = settings_or_exit()  # while the module is imported, for BentoML retries a failing __init__ for ever
keep_metrics_apart()
take_over_allocation()
set_up_log(SETTINGS.log_format)  # in every process: this module is imported by the one that starts them, too
LABELS = {"project": "sdxl-relay", "version": VERSION}
A_LONG_TIME = 1_000_000_000
RUNNER_OPTIONS: dict[str, Any] = {
    "workers": 1,
    "labels": LABELS,
    # For BentoCloud. On one host, runners/gpus.py says who sees which GPU.
    "resources": {"gpu": 1, "cpu": "4", "memory": "16Gi"},
    **INSTEAD,
    # BentoML's proxy would close its session, and with it calls in flight, after 100 requests or 300 s.
    "runner_connection": {"max_requests": A_LONG_TIME, "max_age": float(A_LONG_TIME)},
    # `timeout`: until a stream's first frame, which comes at once; BentoML remembers each request for so long.
    # `concurrency` is for BentoCloud: the jobs of a replica past which there is to be another, as on Kubernetes.
    "traffic": {"timeout": 60, "concurrency": 8},
}


@contextmanager
def importing() -> Iterator[None]:
    """Imports in the block take a quarter less time: nothing of what they make is garbage, so none is looked for."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


class Runner:
    """A service whose `stage` is loaded when it starts; its `door` lets jobs in from then on."""

    door: ClassVar[Door]
    stage: Stage

    @bentoml.on_startup
    async def open_door(self) -> None:
        """Begins to take jobs."""
        self.stage.open(self.door)

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Lets no future wait for ever."""
        self.stage.engine.stop()
