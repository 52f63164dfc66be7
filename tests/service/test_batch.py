"""POST /generate_batch: unlike requests of several clients in one batch, each with a picture or an error of its own."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.service.reference import distance
from tests.service.server import Server
from tests.service.test_bad_input import NO_REQUESTS, assert_names
from tests.service.test_clients import run_python
from tests.service.test_disconnect import SLOW, wait_for

QUICK: dict[str, Any] = {"prompt": "a green cone, white background", "num_inference_steps": 4, "seed": 1,
                         "high_noise_frac": 0.5}  # fmt: skip
UNENDING = {**SLOW, "refine": "none"}
MAX_ITEMS, MAX_AT_ONCE = 32, 32
UNLIKE: list[dict[str, Any]] = [
    QUICK,
    {**QUICK, "seed": 2, "refine": "none", "scheduler": "unipc", "num_inference_steps": 3, "output_format": "webp"},
    {**QUICK, "seed": 3, "width": 256, "height": 64, "guidance_scale": 1.0, "output_format": "jpeg"},
    {**QUICK, "seed": 4, "prompt": "a red cube " * 40, "refine": "sdedit", "strength": 0.5},
]


def post(server: Server, items: list[Any]) -> list[dict[str, Any]]:
    answer = server.post("/generate_batch", json={"requests": items})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()
    assert len(results) == len(items)
    return results


def levels(result: dict[str, Any]) -> NDArray[np.uint8]:
    """The picture of a result as uint8 [height, width, 3]."""
    assert result["error"] is None, result["error"]
    return np.asarray(Image.open(BytesIO(base64.b64decode(result["picture"]))).convert("RGB"))


@contextmanager
def waiting_client(server: Server, fields: dict[str, Any], path: str = "/generate_batch") -> Iterator[None]:
    """A client that has sent its request, and leaves at the end of the block without an answer."""
    body = json.dumps(fields).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST %s HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (path.encode(), len(body), body)
        )
        yield


def test_unlike_requests_give_the_pictures_of_generate(server: Server) -> None:
    for request, result in zip(UNLIKE, post(server, UNLIKE), strict=True):
        alone = server.post("/generate", json=request)
        picture = np.asarray(Image.open(BytesIO(alone.content)).convert("RGB"))
        lossy = request.get("output_format") in ("jpeg", "webp")
        assert distance(levels(result), picture) <= (16 if lossy else 2)
        assert result["seed"] == request["seed"]
        assert result["media_type"] == alone.headers["content-type"]
        told = {name: alone.headers.get(f"x-{name}") for name in ("truncated", "watermark")}
        assert result["warnings"] == {name: text for name, text in told.items() if text}
        assert [*result["timings"]] == ["queue", "load", "encode", "base", "handoff", "refiner", "decode", "picture"]
        assert result["timings"]["base"] > 0


BAD: list[tuple[Any, str, str]] = [
    ({**QUICK, "width": 100}, "width", "invalid_field"),
    ({**QUICK, "original_size": [128, -1]}, "original_size.1", "invalid_field"),
    ({**QUICK, "a_new_field": 1}, "a_new_field", "unknown_field"),
    ({"seed": 1}, "prompt", "missing_field"),
    (7, "request", "invalid_field"),
    (None, "request", "invalid_field"),
    ([QUICK], "request", "invalid_field"),
    # What only the runner can know:
    ({**QUICK, "num_inference_steps": 1, "refine": "ensemble"}, "num_inference_steps", "no_step"),
    ({**QUICK, "width": 8_192, "height": 8_192}, "width", "invalid_field"),
]


def test_bad_items_harm_no_others(server: Server) -> None:
    results = post(server, [QUICK, *[item for item, _, _ in BAD], QUICK])
    assert distance(levels(results[0]), levels(results[-1])) <= 2
    for (item, field, code), result in zip(BAD, results[1:-1], strict=True):
        assert result["picture"] is None
        error = result["error"]
        assert (error["field"], error["code"], error["status"]) == (field, code, 400)
        assert error["error"].startswith(f"{field}: got" if code != "unknown_field" else field)
        if isinstance(item, dict):
            alone = server.post("/generate", json=item).json()
            assert alone.items() <= error.items()


def test_lists_of_many_clients_are_made_together(server: Server) -> None:
    def counts() -> NDArray[np.float64]:
        """Lists that were answered, the base's ticks and rows."""
        lists = server.metric("sdxl_relay_requests_total", endpoint="/generate_batch", status="200")
        names = ("sdxl_relay_tick_rows_count", "sdxl_relay_tick_rows_sum")
        return np.array([lists, *(server.metric(name, stage="base") for name in names)])

    before = counts()
    items = [{**QUICK, "num_inference_steps": steps} for steps in (2, 3, 4)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: post(server, items), range(12)))
    assert all(result["error"] is None for results in answers for result in results)
    lists, ticks, rows = counts() - before
    assert lists == 12
    assert rows / ticks > 2.5  # an item alone has two rows


NO_LISTS: list[tuple[Any, str]] = [
    ([], "body"), ([QUICK], "body"), ({}, "requests"), (QUICK, "requests"), ({"requests": []}, "requests"),
    ({"requests": QUICK}, "requests"), ({"requests": None}, "requests"), ({"requests": "[]"}, "requests"),
    ({"requests": [QUICK] * (MAX_ITEMS + 1)}, "requests"), ({"requests": [QUICK], "seed": 1}, "seed"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "field"), NO_LISTS, ids=lambda v: str(v)[:20])
def test_a_body_that_is_no_list_of_requests(server: Server, body: Any, field: str) -> None:
    response = server.post("/generate_batch", json=body)
    assert_names(response, field)
    assert len(response.text) < 600


@pytest.mark.parametrize("body", NO_REQUESTS)
def test_a_body_that_is_no_request(server: Server, body: bytes) -> None:
    response = server.post("/generate_batch", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]


def test_a_body_that_is_too_large_or_of_a_wrong_type(server: Server) -> None:
    item = {**QUICK, "prompt": "x" * 400_000}
    assert_names(server.post("/generate_batch", json={"requests": [item] * MAX_ITEMS}), "body", status=413)
    text = json.dumps({"requests": [QUICK]})
    assert_names(server.post("/generate_batch", content=text, headers={"content-type": "text/plain"}),
                 "content-type", status=415)  # fmt: skip


def test_the_python_client(server: Server, tmp_path: Path) -> None:
    code = f"""
import base64, bentoml
from pathlib import Path
with bentoml.SyncHTTPClient("http://127.0.0.1:3000", timeout=100) as client:
    good, bad = client.generate_batch(requests=[{QUICK}, { ({**QUICK, "seed": -1}) }])
    Path("picture.png").write_bytes(base64.b64decode(good["picture"]))
    assert bad["error"]["field"] == "seed", bad
"""
    ended = run_python(code, server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "picture.png").read_bytes() == server.post("/generate", json=QUICK).content


def test_the_schema_has_the_bounds(server: Server) -> None:
    document = httpx.get(f"{server.url}/docs.json").json()
    requests = document["components"]["schemas"]["BatchRequest"]["properties"]["requests"]
    assert (requests["minItems"], requests["maxItems"]) == (1, MAX_ITEMS)
    assert requests["items"]["$ref"].endswith("/GeneratePictures")


def cancelled_jobs(server: Server) -> float:
    return server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled", stage="base")


def test_a_quick_list_does_not_wait_for_a_slow_one(server: Server) -> None:
    before = cancelled_jobs(server)
    with waiting_client(server, {"requests": [{**UNENDING, "width": 128, "height": 128}]}):
        wait_for(lambda: server.metric("sdxl_relay_jobs", stage="base") == 1)
        levels(post(server, [QUICK])[0])
    wait_for(lambda: cancelled_jobs(server) == before + 1)


def test_clients_that_leave_free_their_places(server: Server) -> None:
    before = cancelled_jobs(server)
    with ThreadPoolExecutor(1) as pool:
        with (
            waiting_client(server, {"requests": [UNENDING] * 24}),
            waiting_client(server, {"requests": [UNENDING] * 24}),
        ):
            wait_for(lambda: server.metric("sdxl_relay_jobs", stage="base") == MAX_AT_ONCE)
            staying = pool.submit(post, server, [QUICK])  # its turn comes after the others'
        levels(staying.result()[0])
    wait_for(lambda: cancelled_jobs(server) == before + MAX_AT_ONCE)  # the other 16 never started
