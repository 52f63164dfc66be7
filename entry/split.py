"""`make serve-split`: the three services each by itself, as on three hosts. One that ends, and Ctrl-C, end all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from entry.preflight import check
from runners.supervisor import end_with_parent
from sdxl.catalog.start import settings_or_exit
from sdxl.config.settings import StageName

BENTOML = str(Path(sys.executable).with_name("bentoml"))
HOST = "127.0.0.1"  # of the stages
TARGETS: dict[StageName, str] = {"base": "runners.base:BaseRunner", "refiner": "runners.refiner:RefinerRunner"}


def main(host: str, port: str, base_port: str, refiner_port: str) -> None:
    """Ends with the exit status of the service that ended first, if that ended by itself."""
    end_with_parent()
    settings = settings_or_exit()
    ports: dict[StageName, str] = {"base": base_port, **({"refiner": refiner_port} if settings.has_refiner else {})}
    runners = {f"{stage.upper()}_PORT": (HOST, own) for stage, own in ports.items()}
    check(settings, ports, {"PORT": (host, port), **runners})
    urls = {f"SDXL_{stage.upper()}_URL": f"http://{HOST}:{own}" for stage, own in ports.items()}
    services = {"entry": _started(".", host, port, urls)}
    services |= {f"{stage} runner": _started(TARGETS[stage], HOST, own) for stage, own in ports.items()}
    told = _pass_signals_on(services["entry"])
    name, status = _first_end(services)
    if not told:
        print(f"sdxl-relay: the {name} has ended, with status {status}; the others are stopped", file=sys.stderr)
    for process in services.values():
        process.send_signal(signal.SIGTERM if told else signal.SIGQUIT)  # at once: nothing that is at work could end
    others = [process.wait() for process in services.values()]
    sys.exit(max(others) if told else status or 1)


def _started(target: str, host: str, port: str, settings: Mapping[str, str] = {}) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C does not reach it."""
    command = [BENTOML, "serve", target, "--host", host, "--port", port]
    own = {**os.environ, **settings}
    return subprocess.Popen(command, env=own, start_new_session=True, preexec_fn=end_with_parent)


def _pass_signals_on(entry: subprocess.Popen[bytes]) -> list[int]:
    """To the entry alone, for the stages may have work yet from requests that it has accepted; gives those so far."""
    told: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        told.append(number)
        entry.send_signal(number)

    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(each) is not signal.SIG_IGN:  # by nohup
            signal.signal(each, pass_on)
    return told


def _first_end(services: Mapping[str, subprocess.Popen[bytes]]) -> tuple[str, int]:
    """Waits for any of them; its name and its exit status."""
    ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    return next((name, process.wait()) for name, process in services.items() if process.pid == ended.si_pid)


if __name__ == "__main__":
    main(*sys.argv[1:])
