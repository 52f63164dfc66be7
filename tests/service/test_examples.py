"""The examples, as their users run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.service.server import ROOT, Server

EXAMPLES = ROOT / "examples"


def run_example(server: Server, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "SDXL_RELAY_URL": server.url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize("example", ["curl.sh", "bentoml_sync.py", "bentoml_async.py", "openai_client.py"])
def test_an_example(server: Server, tmp_path: Path, example: str) -> None:
    command = (
        ["bash", str(EXAMPLES / example)] if example.endswith(".sh") else [sys.executable, str(EXAMPLES / example)]
    )
    done = run_example(server, tmp_path, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    pictures = list(tmp_path.glob("*.png"))
    assert pictures
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.size == (128, 128)
    if example == "curl.sh":
        assert done.stdout.rstrip().endswith('"status":"canceled"}')
    else:
        assert {path.name for path in pictures} == set(done.stdout.strip().split(", "))


def test_the_command_line_client(server: Server, tmp_path: Path) -> None:
    client = (sys.executable, str(EXAMPLES / "generate.py"))
    done = run_example(server, tmp_path, *client, "a red cube", "--seed", "3", "--output", "cube.webp")
    assert done.returncode == 0, done.stderr
    assert "cube.webp, seed 3" in done.stdout
    assert (tmp_path / "cube.webp").read_bytes() == server.post(
        "/generate", json={"prompt": "a red cube", "seed": 3, "output_format": "webp"}
    ).content
    refused = run_example(server, tmp_path, *client, "a red cube", "--width", "70")
    assert (refused.returncode, refused.stderr.strip()) == (
        1,
        "width: got 70; allowed: a multiple of 8",
    )


def test_the_requirements_are_those_that_are_tested() -> None:
    pinned = {
        line for name in ("requirements.txt", "requirements-dev.txt") for line in (ROOT / name).read_text().splitlines()
    }
    wanted = (EXAMPLES / "requirements.txt").read_text().splitlines()
    assert {line for line in wanted if not line.startswith("#")} <= pinned
