"""What keeps the server from starting is said in one clear line, and the exit status is not 0."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.service.server import free_port, run_module

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


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        ended = run_module(["entry.preflight", "127.0.0.1", port], tmp_path)
    assert ended.returncode != 0
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_free_port_and_good_settings(tmp_path: Path) -> None:
    ended = run_module(["entry.preflight", "127.0.0.1", str(free_port())], tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
