"""What keeps the server from starting is said in one clear line, and the exit status is not 0."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.service.server import Serving, free_port, run_module
from tests.service.test_disconnect import wait_for

BAD_SETTINGS = {
    "SDXL_STEPS": ("30", "SDXL_STEPS is not a setting"),
    "SDXL_MAX_ROWS": ("many", "SDXL_MAX_ROWS=many"),
    "SDXL_FIXED_ROWS": ("6", "SDXL_FIXED_ROWS=6"),
    "SDXL_DTYPE": ("int8", "SDXL_DTYPE=int8"),
    "SDXL_BASE": ("/no/such/folder", "SDXL_BASE=/no/such/folder"),
    "SDXL_DEVICE": ("tpu", "SDXL_DEVICE=tpu"),
}


@pytest.mark.parametrize(("name", "value", "said"), [(n, v, s) for n, (v, s) in BAD_SETTINGS.items()])
def test_a_bad_setting(tmp_path: Path, name: str, value: str, said: str) -> None:
    settings: dict[str, Any] = {name: value}
    ended = run_module(["entry.preflight", "127.0.0.1", str(free_port())], tmp_path, **settings)
    assert ended.returncode != 0
    assert said in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_bentoml_serve_itself_says_it_too(tmp_path: Path) -> None:
    ended = run_module(["bentoml", "serve", ".", "--port", str(free_port())], tmp_path, SDXL_MAX_ROWS="0")
    assert ended.returncode != 0
    assert "sdxl-relay: SDXL_MAX_ROWS=0" in ended.stderr
    assert "Traceback" not in ended.stderr


def ended_server(target: str, home: Path, **settings: Any) -> str:
    """What a `bentoml serve` says that ends by itself, with status 1 and nothing left, as one line in the log."""
    serving = Serving(home, target, **settings)
    serving.start()
    assert serving.process.wait(60) == 1
    assert not serving.server.workers()
    log = serving.server.log.read_text()
    assert "Traceback" not in log
    (line,) = [line for line in log.splitlines() if line.startswith("sdxl-relay: ")]
    return line


def test_what_a_look_at_the_files_shows(tmp_path: Path) -> None:
    """Before any process is started for a service."""
    pointer = tmp_path / "own.safetensors"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    said = f"sdxl-relay: SDXL_REFINER={pointer}: it is a Git LFS pointer, not the file itself; run `git lfs pull`"
    ended = run_module(["entry.preflight", "127.0.0.1", str(free_port())], tmp_path, SDXL_REFINER=pointer)
    assert (ended.returncode, ended.stdout, ended.stderr.strip()) == (1, "", said)
    for target, home in ((".", "all"), ("runners.refiner:RefinerRunner", "refiner")):
        (tmp_path / home).mkdir()
        assert ended_server(target, tmp_path / home, SDXL_REFINER=pointer) == said


def test_what_is_only_seen_while_it_is_loaded(tmp_path: Path) -> None:
    """In a process of its own, whose end does not end the others. A path that is not there looks like a hub's name."""
    line = ended_server(".", tmp_path, SDXL_BASE="models/mistyped", HF_HUB_OFFLINE="1")
    assert line.startswith(
        "sdxl-relay: SDXL_BASE=models/mistyped: there is no such folder here, and the model hub does"
    )


def test_a_runner_by_itself_in_a_container(tmp_path: Path) -> None:
    """Where BentoML starts no process a second time."""
    line = ended_server("runners.base:BaseRunner", tmp_path, SDXL_DEVICE="cuda:99", BENTOML_CONTAINERIZED="1")
    assert line.startswith("sdxl-relay: SDXL_DEVICE=cuda:99: PyTorch finds ")


@pytest.mark.full
def test_a_process_that_is_killed_while_it_loads(tmp_path: Path) -> None:
    """As Linux does it for want of memory, which the process cannot tell."""

    def supervisor() -> int:
        return next((child.pid for child in psutil.Process(serving.process.pid).children()), 0)

    serving = Serving(tmp_path, "runners.base:BaseRunner")
    serving.start()
    wait_for(lambda: any(Path(tempfile.gettempdir()).glob(f"sdxl-relay-metrics-*/base-of-{supervisor()}.loading")))
    serving.server.workers()["sdxl_base"].kill()
    assert serving.process.wait(60) == 1
    assert "the process that loaded it was killed, most likely for want of memory" in serving.server.log.read_text()


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = run_module(["entry.preflight", "127.0.0.1", port], tmp_path)
    assert ended.returncode != 0
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "as in PORT=" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_port_that_two_services_are_to_have(tmp_path: Path) -> None:
    """The line names the variable to change, before any of the three has started."""
    entry, runner = str(free_port()), str(free_port())
    for ports, variable in (((entry, entry, runner), "BASE_PORT"), ((entry, runner, runner), "REFINER_PORT")):
        ended = run_module(["entry.split", "127.0.0.1", *ports], tmp_path)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert f"as in {variable}=" in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1


def test_a_free_port_and_good_settings(tmp_path: Path) -> None:
    ended = run_module(["entry.preflight", "127.0.0.1", str(free_port())], tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
