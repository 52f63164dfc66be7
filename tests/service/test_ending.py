"""How servers end: at once by a second signal, with a terminal, with the process that started them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.service.server import ROOT, Server, Serving, environment, free_port, wait_until_ready
from tests.service.test_disconnect import wait_for

LONG: dict[str, Any] = {"prompt": "a green cone", "width": 512, "height": 512, "num_inference_steps": 150, "seed": 1}
WAITS = "stopping: waiting for the requests at work (1), for 120 s at most; Ctrl-C again, or SIGQUIT, stops at once"


def is_at_work(server: Server) -> bool:
    return server.metric("sdxl_relay_requests_at_work", endpoint="/generate") == 1


def all_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def are_gone(processes: list[psutil.Process]) -> bool:
    return not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes)


def test_a_second_signal_ends_what_is_at_work(tmp_path: Path) -> None:
    serving = Serving(tmp_path)
    serving.start()
    serving.wait_until_ready()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(serving.server.post, "/generate", json=LONG)
        wait_for(lambda: is_at_work(serving.server))
        serving.process.send_signal(signal.SIGINT)
        wait_for(lambda: WAITS in serving.server.log.read_text())
        serving.process.send_signal(signal.SIGINT)  # too soon to be a second one
        time.sleep(1.2)
        assert not answer.done()
        serving.process.send_signal(signal.SIGINT)
        assert (answer.result(10).status_code, answer.result().json()["code"]) == (503, "stopping")
    assert serving.process.wait(10) == 0


@pytest.mark.parametrize("number", [pytest.param(signal.SIGHUP, marks=pytest.mark.full), signal.SIGKILL])
def test_nothing_outlives_the_server(tmp_path: Path, number: signal.Signals) -> None:
    """SIGHUP comes when a terminal is closed."""
    serving = Serving(tmp_path, SDXL_REFINER="none")
    serving.start()
    serving.wait_until_ready()
    supervisor, *services = all_of(serving.process)
    assert len(services) >= 2
    supervisor.send_signal(number)
    wait_for(lambda: are_gone(services), 20)
    serving.process.wait(10)


@pytest.fixture
def split(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[Server]]]:
    """As `make serve-split` starts it, in one home; the entry, the base and the refiner."""
    ports = [free_port() for _ in range(3)]
    log = tmp_path / "serve.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "entry.split", "127.0.0.1", *map(str, ports)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(tmp_path), stdout=output, stderr=output)
    servers = [Server(f"http://127.0.0.1:{port}", log) for port in ports]
    try:
        wait_until_ready(servers[0].url, process)
        yield process, servers
    finally:
        process.kill()
        process.wait()


def test_split_on_one_host(split: tuple[subprocess.Popen[bytes], list[Server]]) -> None:
    process, (entry, base, refiner) = split
    assert entry.post("/generate", json={"prompt": "a cone", "num_inference_steps": 4}).status_code == 200
    stages = [set(re.findall(r'stage="(\w+)"', httpx.get(f"{each.url}/metrics").text)) for each in (base, refiner)]
    assert stages == [{"base"}, {"refiner"}]
    assert entry.metric("sdxl_relay_requests_total", endpoint="/generate", status="200") == 1
    everything = all_of(process)
    of_refiner = next(each for each in everything if "runners.refiner:RefinerRunner" in each.cmdline())
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(entry.post, "/generate", json=LONG)
        wait_for(lambda: is_at_work(entry))
        of_refiner.terminate()
        assert answer.result(10).status_code == 503
    assert process.wait(15) == 1
    assert "sdxl-relay: the refiner runner has ended, with status 0; the others are stopped" in entry.log.read_text()
    wait_for(lambda: are_gone(everything), 10)


@pytest.mark.full
def test_split_with_its_parent(split: tuple[subprocess.Popen[bytes], list[Server]]) -> None:
    process, _ = split
    everything = all_of(process)
    process.kill()
    wait_for(lambda: are_gone(everything), 20)
