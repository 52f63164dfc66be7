"""Many models, memory for a few, files that come and go, a replica that is killed: right pictures, or clear 404s."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from benchmarks.models_folder import CONFIG, file_of, name_of, write_many
from tests.service.server import Server, Serving, free_port, serving

MODELS, SEEDS, MEMORY_GB = 12, 5, 0.097  # for three UNets of 24 MB, and the parts that all have in common
REMOVED, ADDED = 11, 12
FIELDS: dict[str, Any] = {"prompt": "a red cube, white background", "num_inference_steps": 4, "watermark": False}
TOKEN = "a secret of the tests"
SIZE: dict[str, Any] = {"width": 64, "height": 64, "guidance_scale": 2.0}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve, and one more that is put there later."""
    folder = tmp_path_factory.mktemp("many")
    write_many(folder / "all", MODELS + 1, 0)
    write = folder / "offered" / "checkpoints"
    write.mkdir(parents=True)
    for number in range(MODELS):
        (folder / "all" / "checkpoints" / file_of(number)).rename(write / file_of(number))
    return folder


@pytest.fixture(scope="module")
def bases(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Serving]]:
    settings: dict[str, Any] = {
        "SDXL_MODELS": models / "offered", "SDXL_RESIDENT_GB": MEMORY_GB, "SDXL_FIXED_ROWS": 4,
        "SDXL_RUNNER_TOKEN": TOKEN, "SDXL_BASE_CONFIG": CONFIG["base_config"],
    }  # fmt: skip
    replicas = [
        Serving(tmp_path_factory.mktemp("home"), "runners.base:BaseRunner", port=free_port(), **settings)
        for _ in range(2)
    ]
    with ExitStack() as stack:
        for replica in replicas:
            replica.start()
            stack.callback(replica.stop)
        for replica in replicas:
            replica.wait_until_ready()
        yield replicas


@pytest.fixture(scope="module")
def entry(bases: list[Serving], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    urls = ",".join(replica.server.url for replica in bases)
    with serving(
        tmp_path_factory.mktemp("entry"), SDXL_BASE_URL=urls, SDXL_RUNNER_TOKEN=TOKEN, SDXL_RUNNER_SILENCE_S=5
    ) as server:
        yield server


def ask(entry: Server, model: int, seed: int) -> httpx.Response:
    return entry.post("/generate", json={**FIELDS, **SIZE, "model": name_of(model), "seed": seed})


def resident(entry: Server) -> dict[str, int]:
    told: dict[str, int] = httpx.get(f"{entry.url}/readyz").json()["base"]["resident"]
    return told


def test_60_requests_for_12_models_while_files_come_and_go_and_a_replica_is_killed(
    entry: Server, bases: list[Serving], models: Path
) -> None:
    wanted = [(model, seed) for seed in range(SEEDS) for model in range(MODELS)]
    undisturbed = {each: ask(entry, *each).content for each in wanted}
    assert len(set(undisturbed.values())) == len(wanted), "each model makes a picture of its own"
    assert sum(resident(entry).values()) <= 3 * len(bases)
    offered = models / "offered" / "checkpoints"
    with ThreadPoolExecutor(len(wanted)) as clients:
        under_way: dict[tuple[int, int], Future[httpx.Response]] = {
            each: clients.submit(ask, entry, *each) for each in wanted
        }
        time.sleep(0.3)
        shutil.move(offered / file_of(REMOVED), models / "removed")
        (models / "all" / "checkpoints" / file_of(ADDED)).rename(offered / file_of(ADDED))
        entry.post("/sdapi/v1/refresh-checkpoints")
        added = clients.submit(ask, entry, ADDED, 0)
        kill(bases[0])
        answers = {each: future.result() for each, future in under_way.items()}
    for (model, seed), answer in answers.items():
        if model == REMOVED and answer.status_code == 404:
            assert answer.json()["code"] == "model_not_found", answer.text
            assert answer.json()["field"] == "model"
        else:
            assert answer.status_code == 200, answer.text
            assert answer.content == undisturbed[model, seed]
    assert added.result().status_code == 200, added.result().text
    assert ask(entry, REMOVED, 0).status_code == 404
    assert name_of(ADDED) in [model["id"] for model in httpx.get(f"{entry.url}/v1/models").json()["data"]]


def kill(replica: Serving) -> None:
    """SIGKILL to all of its processes, and a start."""
    family = [psutil.Process(replica.process.pid), *psutil.Process(replica.process.pid).children(recursive=True)]
    for process in family:
        os.kill(process.pid, signal.SIGKILL)
    replica.process.wait()
    replica.start()
