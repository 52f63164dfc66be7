"""The answer to GET /metrics: what all processes of one `bentoml serve` have counted."""

from __future__ import annotations

import asyncio
import atexit
import os
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from bentoml._internal.configuration.containers import BentoMLContainer
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # BentoML sets it for the processes that it starts


def keep_metrics_apart() -> None:
    """Gives this `bentoml serve` a folder of its own for them; to be called while a service's module is imported.

    BentoML's is the same for all of a home (BENTOML_HOME), and each empties it at its start.
    """
    if FOLDER not in os.environ:
        BentoMLContainer.prometheus_multiproc_dir.set(_own_folder())


@cache
def _own_folder() -> str:
    folder = TemporaryDirectory(prefix="sdxl-relay-metrics-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return folder.name


async def published(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with all metrics. BentoML's own route is turned off with its metrics (entry/http/metrics.py)."""
    await (await asyncio.to_thread(_answer))(scope, receive, send)


def _answer() -> Response:
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    forget_the_dead()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def forget_the_dead() -> None:
    """Removes the gauges of processes that were killed, which had no time to do it themselves."""
    from prometheus_client import multiprocess

    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    pids = {int(path.stem.rpartition("_")[2]) for path in Path(folder).glob("gauge_live*_*.db")}
    for pid in pids:
        if not _is_alive(pid):
            multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE  # killed, and not yet waited for
    except psutil.NoSuchProcess:
        return False
