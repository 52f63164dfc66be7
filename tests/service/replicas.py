"""The two stages' replicas on hosts of their own, the entry that calls them, and what can happen to a replica."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.service.hosts import Host, Network
from tests.service.server import ROOT, Server, Serving, serving

Stage = Literal["base", "refiner"]
TARGETS: dict[Stage, tuple[str, int]] = {
    "base": ("runners.base:BaseRunner", 3001),
    "refiner": ("runners.refiner:RefinerRunner", 3002),
}
PROXY_PORT = 8000
DELAY_S = 2.0
DRAIN_TIMEOUT_S = 150.0  # more than the default of SDXL_DRAIN_S
TOKEN = "a secret of the tests"


class Replica:
    """One runner on its host, behind a `DelayProxy`."""

    def __init__(self, stage: Stage, host: Host, home: Path, **settings: Any) -> None:
        target, port = TARGETS[stage]
        home.mkdir()
        self.stage, self.host = stage, host
        self.serving = Serving(home, target, host=host.address, port=port, **settings)
        self.url = f"http://{host.address}:{PROXY_PORT}"
        self._proxy_command = [
            *(sys.executable, "-m", "tests.service.delay_proxy"),
            *(f"{host.address}:{PROXY_PORT}", f"{host.address}:{port}", str(DELAY_S)),
        ]
        self._proxy: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> Server:
        """The runner without the proxy before it."""
        return self.serving.server

    def start(self) -> None:
        """Of what does not run yet. Returns at once; `wait_until_ready` is next."""
        with self.host.inside():
            if self._proxy is None:
                self._proxy = subprocess.Popen(self._proxy_command, cwd=ROOT)
            self.serving.start()

    def wait_until_ready(self) -> None:
        """Raises RuntimeError with the log's end if that takes too long."""
        with self.host.inside():
            self.serving.wait_until_ready()

    def kill(self) -> None:
        """SIGKILL to all on this host."""
        self.host.kill()
        for process in (self._proxy, self.serving.process):
            if process is not None:
                process.wait()
        self._proxy = None

    def stop(self) -> None:
        """SIGTERM to the runner; returns when it has ended."""
        self.serving.stop(DRAIN_TIMEOUT_S)

    def delay(self) -> None:
        """From now on, all that this host sends arrives `DELAY_S` later."""
        self._tell_proxy(signal.SIGUSR1)

    def hurry(self) -> None:
        """Takes back `delay`."""
        self._tell_proxy(signal.SIGUSR2)

    def _tell_proxy(self, what: signal.Signals) -> None:
        assert self._proxy is not None, "nothing runs on this host"
        self._proxy.send_signal(what)


@dataclass(frozen=True)
class Company:
    """An entry and its replicas, each on a host of its own."""

    entry_host: Host
    entry: Server  # reached from inside `entry_host`
    replicas: list[Replica] = field(default_factory=list)

    def of(self, stage: Stage) -> list[Replica]:
        """One stage's replicas."""
        return [replica for replica in self.replicas if replica.stage == stage]

    def wait_until_whole(self, timeout_s: float = 60) -> None:
        """Until the entry knows all replicas as ready."""
        deadline = time.monotonic() + timeout_s
        with self.entry_host.inside():
            while self.entry.metric("sdxl_relay_replicas_ready") < len(self.replicas):
                if time.monotonic() > deadline:
                    raise TimeoutError(httpx.get(f"{self.entry.url}/readyz").text)
                time.sleep(0.2)


@contextmanager
def running(home: Path, per_stage: int, **settings: Any) -> Iterator[Company]:
    """An entry and so many replicas of each stage until the block ends, all with these settings."""
    names: dict[str, Stage] = {f"{stage}{number}": stage for stage in TARGETS for number in range(1, per_stage + 1)}
    settings = {"SDXL_RUNNER_TOKEN": TOKEN, "OMP_NUM_THREADS": 1, **settings}
    with Network("entry", *names) as network, ExitStack() as stack:
        replicas = [Replica(stage, network[name], home / name, **settings) for name, stage in names.items()]
        for replica in replicas:
            replica.start()
            stack.callback(replica.kill)
        urls: dict[str, Any] = {
            f"SDXL_{stage.upper()}_URL": ",".join(replica.url for replica in replicas if replica.stage == stage)
            for stage in TARGETS
        }
        (home / "entry").mkdir()
        host = network["entry"]
        with host.inside():  # which is ready once the replicas are
            entry = stack.enter_context(serving(home / "entry", host=host.address, port=3000, **settings, **urls))
        company = Company(host, entry, replicas)
        company.wait_until_whole()
        yield company
