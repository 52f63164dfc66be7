"""The OpenAPI document, fuzzed: whatever comes, no status of 500 or more, and always an answer."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MINI
from tests.service.epsilon import write_epsilon_pair
from tests.service.server import Server, serving

TINY = {"block_out_channels": (32, 32, 64), "attention_head_dim": (2, 2, 4)}


@pytest.fixture(scope="module")
def quick_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose UNets are small, for many of the cases are pictures of up to 150 steps."""
    folder = tmp_path_factory.mktemp("tiny")
    write_epsilon_pair(MINI, folder, **TINY)
    with serving(
        tmp_path_factory.mktemp("bentoml"),
        SDXL_BASE=folder / "base",
        SDXL_REFINER=folder / "refiner",
        SDXL_MAX_PIXELS=128 * 128,
        SDXL_MAX_UPLOAD_MB=1,
        SDXL_MAX_ROWS=64,
    ) as running:
        yield running


@pytest.mark.parametrize(
    ("phases", "examples", "cases_in_all"),
    [("fuzzing", 5, 60), pytest.param("examples,coverage,fuzzing", 10, 2_000, marks=pytest.mark.full)],
)
def test_no_case_gives_a_server_error(
    quick_server: Server, tmp_path: Path, phases: str, examples: int, cases_in_all: int
) -> None:
    """One worker: with several, schemathesis now and then fails in the threads of its own (under Python 3.11)."""
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{quick_server.url}/docs.json"),
            *("--checks", "not_a_server_error", "--phases", phases),
            *("--max-examples", str(examples), "--workers", "1", "--seed", "1"),
            *("--request-timeout", "60", "--continue-on-failure", "--no-color"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=3_000,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5_000:]
    counted = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert counted is not None, done.stdout[-5_000:]
    print(counted[0])
    assert int(counted[1]) >= cases_in_all
    assert quick_server.post("/generate", json={"prompt": "a red cube"}).status_code == 200
