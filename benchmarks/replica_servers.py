"""Starts many runners and entries, each a `bentoml serve` of its own, as on hosts of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sdxl.config.settings import StageName
from tests.service.server import ROOT, Server, serving

SERVICES: dict[StageName, str] = {"base": "BaseRunner", "refiner": "RefinerRunner"}
MODULES: dict[StageName, str] = {"base": "runners.base", "refiner": "runners.refiner"}
SLEEPING = "benchmarks.sleeping"
# No work is to be turned away, however long the queue.
ROOMY = {"SDXL_MAX_JOBS": "100000", "SDXL_TIMEOUT_S": "86400"}
AT_ONCE = 2  # servers that start at a time: each takes some ten seconds of one core


@dataclass(frozen=True, kw_only=True)
class Sleep:
    """How long a UNet sleeps instead of computing."""

    call_ms: float = 0.0
    row_ms: float  # more for each row of the call

    @property
    def variables(self) -> dict[str, str]:
        return {"SLEEP_MS": str(self.call_ms), "SLEEP_MS_PER_ROW": str(self.row_ms)}


@dataclass(frozen=True, kw_only=True)
class Runner:
    """One replica to start, of the mini checkpoint or of UNets that sleep."""

    stage: StageName
    sleep: Sleep | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def target(self) -> str:
        module = SLEEPING if self.sleep else MODULES[self.stage]
        return f"{module}:{SERVICES[self.stage]}"

    @property
    def variables(self) -> dict[str, str]:
        sleep = self.sleep.variables if self.sleep else {}
        return {**ROOMY, "OMP_NUM_THREADS": "1", **sleep, **self.environment}


class Servers:
    """What was started, until the block ends."""

    def __init__(self) -> None:
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def runners(self, wanted: Sequence[Runner]) -> list[Server]:
        """Those that are wanted, ready."""
        return self._start([(runner.target, runner.variables) for runner in wanted])

    def entries(self, clusters: Sequence[tuple[Sequence[Server], Sequence[Server]]]) -> list[Server]:
        """An entry for each cluster of bases and refiners; a runner may be in several."""
        urls = [tuple(",".join(server.url for server in stage) for stage in cluster) for cluster in clusters]
        return self._start(
            [
                ("service:SDXLRelay", {**ROOMY, "SDXL_BASE_URL": base, "SDXL_REFINER_URL": refiner})
                for base, refiner in urls
            ]
        )

    def _start(self, wanted: Sequence[tuple[str, Mapping[str, str]]]) -> list[Server]:
        def start(target: str, variables: Mapping[str, str]) -> Server:
            home = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
            return self._open.enter_context(serving(home, target, ROOT, **variables))

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda one: start(*one), wanted))
