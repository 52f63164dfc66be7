"""SIGTERM: what was accepted is done, what is new is refused at once, and the exit status is 0."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.conftest import MINI
from tests.service.server import Server, Serving
from tests.service.split import Split, ask_runner, one, serving_split
from tests.service.test_disconnect import wait_for

LONG: dict[str, Any] = {"prompt": "a green cone, white background", "num_inference_steps": 70, "seed": 1}
JOBS = 4


def is_at_work(server: Server, stage: str) -> Callable[[], bool]:
    return lambda: server.metric("sdxl_relay_jobs", stage=stage) == JOBS


def jobs(pool: ThreadPoolExecutor, server: Server, **fields: Any) -> list[Future[httpx.Response]]:
    return [pool.submit(server.post, "/generate", json={**LONG, **fields}) for _ in range(JOBS)]


def end_of(serving: Serving) -> int:
    return serving.process.wait(60)


def refused(answer: httpx.Response) -> bool:
    return answer.status_code == 503 and answer.json()["code"] == "stopping" and int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(("stage", "frac"), [("base", 0.5), pytest.param("refiner", 0.05, marks=pytest.mark.full)])
def test_on_one_host(tmp_path: Path, stage: str, frac: float) -> None:
    """Also a request that is in the base yet when the refiner, idle, gets its signal."""
    serving = Serving(tmp_path)
    serving.start()
    serving.wait_until_ready()
    with ThreadPoolExecutor(JOBS) as pool:
        accepted = jobs(pool, serving.server, high_noise_frac=frac)
        wait_for(is_at_work(serving.server, stage))
        serving.process.send_signal(signal.SIGTERM)
        wait_for(lambda: httpx.get(f"{serving.server.url}/readyz").status_code == 503)
        begun_s = time.monotonic()
        assert refused(serving.server.post("/generate", json=LONG))
        assert time.monotonic() - begun_s < 1
        answer = serving.server.post("/v1/images/generations", json={"prompt": "a cone"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "stopping")
        assert [each.result().status_code for each in accepted] == [200] * JOBS
    assert end_of(serving) == 0


@pytest.mark.full  # tests/runners/test_drain.py has the same without servers
def test_work_that_takes_longer_than_the_grace(tmp_path: Path) -> None:
    serving = Serving(tmp_path, SDXL_DRAIN_S=1)
    serving.start()
    serving.wait_until_ready()
    with ThreadPoolExecutor(JOBS) as pool:
        accepted = jobs(pool, serving.server, width=512, height=512)
        wait_for(is_at_work(serving.server, "base"))
        serving.process.send_signal(signal.SIGTERM)
        assert all(refused(each.result()) for each in accepted)
    assert end_of(serving) == 0


def workers_of(serving: Serving) -> list[psutil.Process]:
    return psutil.Process(serving.process.pid).children(recursive=True)


@contextmanager
def stopping(runner: Serving) -> Any:
    """Sends the signal to a runner by itself, and looks at its end after the block."""
    workers = workers_of(runner)
    runner.process.send_signal(signal.SIGTERM)
    wait_for(lambda: httpx.get(f"{runner.server.url}/readyz").status_code == 503)
    answer = ask_runner(runner, content=b"")
    assert (answer.status_code, answer.json()["code"]) == (503, "stopping")
    yield
    assert end_of(runner) == 0
    assert not [each for each in workers if each.is_running()]


def test_apart(tmp_path: Path) -> None:
    """The refiner while it works, the entry that finds it missing, and the entry itself with jobs in the base."""
    with serving_split(tmp_path, SDXL_MAX_ROWS=8) as split, ThreadPoolExecutor(JOBS) as pool:
        in_refiner = jobs(pool, split.server, high_noise_frac=0.05)
        wait_for(is_at_work(split.refiner.server, "refiner"))
        with stopping(split.refiner):
            assert [each.result().status_code for each in in_refiner] == [200] * JOBS
        assert_a_missing_stage_is_named(split)
        in_base = jobs(pool, split.server, refine="none")
        wait_for(is_at_work(split.base.server, "base"))
        split.entry.process.send_signal(signal.SIGTERM)
        wait_for(lambda: httpx.get(f"{split.server.url}/readyz").json().get("code") == "stopping")
        assert refused(split.server.post("/generate", json=LONG))
        assert [each.result().status_code for each in in_base] == [200] * JOBS
        assert end_of(split.entry) == 0


@pytest.mark.full
def test_runners_that_come_back(tmp_path: Path) -> None:
    """The entry finds a runner that comes back by itself, if it is the right one."""
    with serving_split(tmp_path, SDXL_MAX_ROWS=8) as split, ThreadPoolExecutor(JOBS) as pool:
        split.refiner.stop()
        port = int(split.refiner.server.url.rpartition(":")[2])
        wrong = one(tmp_path, "refiner", port=port, SDXL_REFINER=a_refiner_of_another_spacing(tmp_path / "wrong"))
        wrong.start()
        wrong.wait_until_ready()
        assert_a_disagreement_is_named(split.server)
        wrong.stop()

        split.refiner.start()
        split.refiner.wait_until_ready()
        wait_for(lambda: httpx.get(f"{split.server.url}/readyz").status_code == 200)

        in_base = jobs(pool, split.server, high_noise_frac=0.9)
        wait_for(is_at_work(split.base.server, "base"))
        with stopping(split.base):
            assert [each.result().status_code for each in in_base] == [200] * JOBS
        split.base.start()
        split.base.wait_until_ready()
        wait_for(lambda: httpx.get(f"{split.server.url}/readyz").status_code == 200)


def assert_a_missing_stage_is_named(split: Split) -> None:
    def report() -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{split.server.url}/readyz").json()
        return found

    wait_for(lambda: "cannot be reached" in " ".join(report()["refiner"]["faults"]))  # it has said before that it stops
    assert (report()["base"]["ready"], report()["refiner"]["ready"]) == (1, 0)
    assert httpx.get(f"{split.server.url}/readyz").status_code == 503
    answer = split.server.post("/generate", json={**LONG, "num_inference_steps": 4}, headers={"X-Timeout-S": "2"})
    assert answer.status_code == 503
    assert "the refiner runner cannot be reached" in answer.json()["error"]
    assert int(answer.headers["retry-after"]) > 0


def a_refiner_of_another_spacing(folder: Path) -> Path:
    shutil.copytree(MINI / "refiner", folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "timestep_spacing": "trailing"}))
    return folder


def assert_a_disagreement_is_named(server: Server) -> None:
    differs = "timestep_spacing: base leading, refiner trailing"
    wait_for(lambda: httpx.get(f"{server.url}/readyz").json()["disagreements"] == [differs])
    refusal = server.post("/generate", json=LONG)
    assert (refusal.status_code, refusal.json()["code"]) == (503, "stages_do_not_fit")
    assert differs in refusal.json()["error"]
    assert server.post("/generate", json={**LONG, "num_inference_steps": 4, "refine": "none"}).is_success
