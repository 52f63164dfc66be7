"""Gauges that BentoML's processes leave behind when they are killed."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def forget_the_dead() -> None:
    """Removes the gauges of processes that were killed, which had no time to do it themselves."""
    from prometheus_client import multiprocess

    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
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
