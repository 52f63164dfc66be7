"""`n`: several pictures of one request to our own endpoints."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import KEYS
from tests.service.server import Server
from tests.service.test_batch import QUICK, cancelled_jobs, levels, post, waiting_client
from tests.service.test_clients import run_python
from tests.service.test_disconnect import SLOW, wait_for
from tests.service.test_refine import a_picture, as_png

PICTURE = {"image": ("a.png", as_png(a_picture(128, 128)), "image/png")}
FORM = {"prompt": QUICK["prompt"], "num_inference_steps": 8, "seed": 5}
AUTH = {"authorization": f"Bearer {KEYS[0]}"}


def several(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 207, answer.text
    assert answer.headers["content-type"] == "application/json"
    results: list[dict[str, Any]] = answer.json()
    return results


def seeds_of(results: list[dict[str, Any]]) -> list[int]:
    return [result["seed"] for result in results]


def alone(data: bytes) -> NDArray[np.int_]:
    return np.asarray(Image.open(BytesIO(data)).convert("RGB")).astype(int)


def events_of(answer: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    parts = [part.split("\n") for part in answer.text.strip().split("\n\n") if part.startswith("event:")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in parts]


def test_pictures_with_seeds_in_a_row(server: Server) -> None:
    results = several(server.post("/generate", json={**QUICK, "n": 3, "seed": 2**32 - 2}))
    assert seeds_of(results) == [2**32 - 2, 2**32 - 1, 0]
    for result in results:
        same = server.post("/generate", json={**QUICK, "seed": result["seed"]})
        assert np.abs(levels(result).astype(int) - alone(same.content)).max() <= 2
        assert result["media_type"] == "image/png"
        assert result["models"] == {"base": "mini", "refiner": "mini/refiner"}


def test_a_drawn_seed_is_the_first_of_a_row(server: Server) -> None:
    first, second = seeds_of(several(server.post("/generate", json={"prompt": "a", "num_inference_steps": 4, "n": 2})))
    assert (second - first) % 2**32 == 1


def test_one_picture_is_as_without_n(server: Server) -> None:
    plain, one = (server.post("/generate", json={**QUICK, **more}) for more in ({}, {"n": 1}))
    assert plain.content == one.content
    assert one.status_code == 200
    assert one.headers["content-type"] == "image/png"


@pytest.mark.parametrize("path", ["/refine", "/edit"])
def test_forms(server: Server, path: str) -> None:
    results = several(server.post(path, data={**FORM, "n": "2"}, files=PICTURE))
    assert seeds_of(results) == [5, 6]
    same = server.post(path, data={**FORM, "seed": "6"}, files=PICTURE)
    assert np.abs(levels(results[1]).astype(int) - alone(same.content)).max() <= 2


@pytest.mark.parametrize("n", [0, 17, "2", 1.5, None, True])
def test_a_bad_count(server: Server, n: Any) -> None:
    answer = server.post("/generate", json={**QUICK, "n": n})
    assert (answer.status_code, answer.json()["field"]) == (400, "n")


def test_what_fails_for_all_is_an_error(server: Server) -> None:
    answer = server.post("/generate", json={**QUICK, "num_inference_steps": 1, "refine": "ensemble", "n": 4})
    assert (answer.status_code, answer.json()["code"]) == (400, "no_step")


def test_the_prompt_is_encoded_once_a_stage(server: Server) -> None:
    """All but the first of the pictures find it in the stage's cache."""

    def counts() -> NDArray[np.float64]:
        name = "sdxl_relay_prompts_encoded_total"
        kinds = [(stage, kind) for stage in ("base", "refiner") for kind in ("miss", "hit")]
        return np.array([server.metric(name, stage=stage, cache=kind) for stage, kind in kinds])

    server.post("/generate", json=QUICK)  # the negative prompt is known from here on
    before = counts()
    prompt = {**QUICK, "prompt": "a blue cylinder, red background, seen for the first time"}
    several(server.post("/generate", json={**prompt, "n": 8}))
    misses, hits = (counts() - before).reshape(2, 2).T
    assert list(misses) == [1, 1]
    assert min(hits) >= 7


def test_an_item_of_a_list_may_have_several(server: Server) -> None:
    results = post_flat(server, [{**QUICK, "n": 2}, {**QUICK, "n": 99}, {**QUICK, "seed": 9}])
    assert [result["seed"] for result in results] == [1, 2, None, 9]
    assert results[2]["error"]["field"] == "n"


def post_flat(server: Server, items: list[Any]) -> list[dict[str, Any]]:
    answer = server.post("/generate_batch", json={"requests": items})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()
    return results


def test_a_list_has_no_more_pictures_than_items(server: Server) -> None:
    answer = server.post("/generate_batch", json={"requests": [{**QUICK, "n": 16}, {**QUICK, "n": 16}, QUICK]})
    assert (answer.status_code, answer.json()["field"]) == (400, "requests")
    assert "at most 32 pictures together, not 33" in answer.json()["error"]
    assert len(post(server, [QUICK])) == 1


def test_a_stream_says_which_picture(server: Server) -> None:
    told = events_of(server.post("/generate_stream", json={**QUICK, "n": 2, "previews": 1}))
    for index in (0, 1):
        own = [(name, data) for name, data in told if data["index"] == index]
        assert [name for name, _ in own].count("preview") == 1
        assert own[-1][0] == "result"
        assert own[-1][1]["seed"] == 1 + index
    one = events_of(server.post("/generate_stream", json=QUICK))
    assert all("index" not in data for _, data in one)
    few = {**QUICK, "num_inference_steps": 1, "refine": "ensemble", "n": 2}
    refused = server.post("/generate_stream", json=few)
    assert (refused.status_code, refused.json()["code"]) == (400, "no_step")


@pytest.mark.parametrize("path", ["/refine_stream", "/edit_stream"])
def test_streams_of_forms(server: Server, path: str) -> None:
    told = events_of(server.post(path, data={**FORM, "n": "2"}, files=PICTURE))
    assert sorted(data["seed"] for name, data in told if name == "result") == [5, 6]


def test_a_task(server: Server) -> None:
    task = server.post("/generate/submit", json={**QUICK, "n": 2}).json()["task_id"]
    query = {"task_id": task}

    def status() -> str:
        told: str = httpx.get(f"{server.url}/generate/status", params=query).json()["status"]
        return told

    wait_for(lambda: status() == "completed")
    results = httpx.get(f"{server.url}/generate/get", params=query).json()
    assert seeds_of(results) == [1, 2]
    assert levels(results[0]).shape == (128, 128, 3)


@pytest.mark.parametrize("path", ["/generate", "/generate_stream"])
def test_a_client_that_leaves_frees_all(server: Server, path: str) -> None:
    before = cancelled_jobs(server)
    with waiting_client(server, {**SLOW, "n": 3}, path):
        wait_for(lambda: server.metric("sdxl_relay_jobs", stage="base") == 3)
    wait_for(lambda: cancelled_jobs(server) == before + 3)


def test_more_pictures_than_a_queue_holds(guarded_server: Server) -> None:
    """Half of its four jobs are at work at once, of all such requests together; a single one finds room."""
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(guarded_server.post, "/generate", json={**QUICK, "n": 6}, headers=AUTH) for _ in "abc"]
        one = pool.submit(guarded_server.post, "/generate", json=QUICK, headers=AUTH)
        assert one.result().status_code == 200
        for answer in waiting:
            assert all(result["error"] is None for result in several(answer.result()))


def test_as_many_requests_wait_as_lists(guarded_server: Server) -> None:
    """SDXL_MAX_JOBS of them, and one more is refused."""
    slow = {**SLOW, "n": 2}
    headers = {**AUTH, "x-timeout-s": "6"}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: guarded_server.post("/generate", json=slow, headers=headers), range(6)))
    full = [answer for answer in answers if answer.status_code == 429]
    assert len(full) == 2
    assert all(int(answer.headers["retry-after"]) > 0 for answer in full)
    assert {answer.status_code for answer in answers} == {429, 504}


def test_the_python_client(server: Server, tmp_path: Path) -> None:
    code = f"""
import bentoml, json
from pathlib import Path
with bentoml.SyncHTTPClient("http://127.0.0.1:3000", timeout=100) as client:
    results = json.loads(client.generate(**{QUICK}, n=2).read_text())
    Path("pictures.json").write_text(json.dumps([result["picture"] for result in results]))
"""
    ended = run_python(code, server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    pictures = json.loads((tmp_path / "pictures.json").read_text())
    assert [alone(base64.b64decode(picture)).shape for picture in pictures] == [(128, 128, 3)] * 2
