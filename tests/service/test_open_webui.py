"""The requests that Open WebUI sends, by both of its engines (backend/open_webui/routers/images.py, November 2026)."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import aiohttp
import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import KEYS
from tests.service.server import ROOT, Server
from tests.service.test_disconnect import wait_for
from tests.service.test_refine import a_picture, as_png

PROMPT = "a green cone, white background"
BASIC = f"Basic {base64.b64encode(f'user:{KEYS[0]}'.encode()).decode()}"
SLOW: dict[str, Any] = {"prompt": PROMPT, "steps": 150, "width": 256, "height": 256}


def send(server: Server, method: str, path: str, **options: Any) -> tuple[int, Any]:
    """As Open WebUI sends it, by aiohttp; the status, and the answer's JSON."""

    async def main() -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session, session.request(method, server.url + path, **options) as answer:
            return answer.status, await answer.json(content_type=None)

    return asyncio.run(main())


def picture(text: str) -> Image.Image:
    """The picture of a base64 text; Open WebUI takes away what is before a comma."""
    return Image.open(BytesIO(base64.b64decode(text.split(",", 1)[-1])))


# --- its OpenAI engine ---

BEARER = {
    "Authorization": f"Bearer {KEYS[0]}",
    "X-OpenWebUI-User-Name": "Somebody",
    "X-OpenWebUI-User-Id": "1",
    "X-OpenWebUI-User-Email": "somebody@example.com",
    "X-OpenWebUI-User-Role": "admin",
}
GENERATIONS = {
    "no model chosen": {"model": "dall-e-2", "n": 1, "size": "128x128", "response_format": "b64_json"},
    "dall-e-3": {"model": "dall-e-3", "n": 2, "size": "128x128", "response_format": "b64_json"},
    "gpt-image-1": {"model": "gpt-image-1", "n": 1, "size": "auto"},
    "gpt-image-1.5": {"model": "gpt-image-1.5", "n": 1},
    "our own": {"model": "sdxl", "n": 1, "size": "128x192", "response_format": "b64_json"},
    "with parameters": {"model": "sdxl", "n": 1, "size": "128x128", "response_format": "b64_json", "quality": "high",
                        "num_inference_steps": 8, "negative_prompt": "a cube"},
}  # fmt: skip


@pytest.mark.parametrize("data", GENERATIONS.values(), ids=GENERATIONS)
@pytest.mark.parametrize("query", ["", "?api-version=2025-04-01-preview"])
def test_generations(guarded_server: Server, data: dict[str, Any], query: str) -> None:
    headers = {**BEARER, "Content-Type": "application/json"}
    status, answer = send(
        guarded_server, "POST", f"/v1/images/generations{query}", json={"prompt": PROMPT, **data}, headers=headers
    )
    assert status == 200, answer
    assert len(answer["data"]) == data["n"]
    for image in answer["data"]:
        assert not image.get("url")
        expected = "128x192" if data.get("size") == "128x192" else "128x128"
        assert "{}x{}".format(*picture(image["b64_json"]).size) == expected


EDITS = {
    "one picture": (["image"], {"model": "", "response_format": "b64_json"}),
    "a list of one": (["image[]"], {"model": "dall-e-2", "n": "1", "response_format": "b64_json"}),
    "a chat's third turn": (["image[]", "image[]"], {"model": "sdxl", "response_format": "b64_json"}),
    "gpt-image, a size": (["image[]"], {"model": "gpt-image-1", "size": "128x192", "background": "opaque"}),
}


@pytest.mark.parametrize(("names", "data"), EDITS.values(), ids=EDITS)
def test_edits(guarded_server: Server, names: list[str], data: dict[str, str]) -> None:
    form = aiohttp.FormData()
    for key, value in {"prompt": PROMPT, **data}.items():
        form.add_field(key, value)
    for name in names:
        form.add_field(name, BytesIO(as_png(a_picture(128, 128))), filename="0b6e.png", content_type="image/png")
    status, answer = send(guarded_server, "POST", "/v1/images/edits", data=form, headers=BEARER)
    assert status == 200, answer
    assert picture(answer["data"][0]["b64_json"]).size == ((128, 192) if "size" in data else (128, 128))


# --- its AUTOMATIC1111 engine ---


def options(server: Server) -> dict[str, Any]:
    status, answer = send(server, "GET", "/sdapi/v1/options", headers={"authorization": BASIC})
    assert status == 200
    assert isinstance(answer, dict)
    return answer


def test_the_connection_is_verified(guarded_server: Server) -> None:
    assert options(guarded_server)["sd_model_checkpoint"].startswith("mini [")
    for wrong in ("", "Basic ", "Basic dXNlcjp3cm9uZw=="):
        assert send(guarded_server, "GET", "/sdapi/v1/options", headers={"authorization": wrong})[0] == 401


def test_an_empty_password_will_do_where_there_are_no_keys(server: Server) -> None:
    assert send(server, "GET", "/sdapi/v1/options", headers={"authorization": "Basic "})[0] == 200


def test_models_are_listed(guarded_server: Server) -> None:
    _, models = send(guarded_server, "GET", "/sdapi/v1/sd-models", headers={"authorization": BASIC})
    assert [model["title"].partition(" [")[0] for model in models] == ["mini", "mini/refiner"]


def test_a_model_is_chosen(guarded_server: Server) -> None:
    """It sends back all options, with the model that its user has chosen."""
    path, headers = "/sdapi/v1/options", {"authorization": BASIC}
    assert send(guarded_server, "POST", path, json=options(guarded_server), headers=headers) == (200, {})
    status, answer = send(
        guarded_server, "POST", path, json={**options(guarded_server), "sd_model_checkpoint": "v1-5"}, headers=headers
    )
    assert status == 404
    assert answer["detail"] == 'sd_model_checkpoint: got "v1-5"; allowed: mini'


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"batch_size": 2, "negative_prompt": "a cube"},
        {"cfg_scale": 7.5, "sampler_name": "DPM++ 2M", "scheduler": "Karras", "refiner_switch_at": 0.7},
        {"override_settings": {"CLIP_stop_at_last_layers": 3}},
    ],
    ids=["plain", "two, with a negative prompt", "AUTOMATIC1111_PARAMS", "clip skip"],
)
def test_txt2img(guarded_server: Server, more: dict[str, Any]) -> None:
    data = {"prompt": PROMPT, "batch_size": 1, "width": 128, "height": 128, "steps": 10, **more}
    status, answer = send(guarded_server, "POST", "/sdapi/v1/txt2img", json=data, headers={"authorization": BASIC})
    assert status == 200, answer
    assert len(answer["images"]) == data["batch_size"]
    for image in answer["images"]:
        assert (picture(image).format, picture(image).size) == ("PNG", (128, 128))
    info = json.loads(answer["info"])
    assert len(info["all_seeds"]) == len(info["infotexts"]) == data["batch_size"]
    assert info["infotexts"][0].startswith(f"{PROMPT}\n")
    assert f"Seed: {info['seed']}, Size: 128x128" in info["infotexts"][0]
    for text in (info["infotexts"][0], picture(answer["images"][0]).info["parameters"]):
        assert ("Clip skip: 3" in text) == ("override_settings" in more)
    assert answer["parameters"]["steps"] == 10


# --- what other clients of AUTOMATIC1111 send ---


def test_the_seed_makes_the_picture_of_generate(server: Server) -> None:
    asked = {"prompt": PROMPT, "seed": 7, "n_iter": 2, "steps": 8, "sampler_index": "Euler a"}
    answer = server.post("/sdapi/v1/txt2img", json=asked).json()
    assert json.loads(answer["info"])["all_seeds"] == [7, 8]
    for seed, image in zip((7, 8), answer["images"], strict=True):
        expected = server.generate(prompt=PROMPT, seed=seed, num_inference_steps=8, scheduler="euler_ancestral")
        assert np.abs(np.asarray(picture(image)).astype(int) - expected).max() <= 2


def test_the_guides_curl_command(server: Server) -> None:
    lines = (ROOT / "docs" / "guides" / "clients.md").read_text().splitlines()
    (command,) = [line for line in lines if line.startswith("curl") and "/sdapi/" in line]
    command = command.replace("127.0.0.1:3000", server.url.removeprefix("http://"))
    done = subprocess.run(command, shell=True, check=True, capture_output=True, text=True, timeout=100)
    assert done.stdout.startswith('{"images":["iVBOR')


def test_what_a_settings_page_asks_for(server: Server) -> None:
    samplers = httpx.get(f"{server.url}/sdapi/v1/samplers").json()
    assert {"name": "Euler a", "aliases": ["k_euler_a", "k_euler_ancestral"], "options": {}} in samplers
    schedulers = httpx.get(f"{server.url}/sdapi/v1/schedulers").json()
    assert {"Automatic", "Uniform", "Karras", "Align Your Steps"} <= {each["label"] for each in schedulers}


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"sampler_name": "Restart"}, 400, "sampler_name"), ({"tiling": True}, 400, "tiling"),
        ({"width": 32}, 400, "width"), ({"steps": 1, "refiner_switch_at": 0.5}, 400, "steps"),
        ({"override_settings": {"sd_model_checkpoint": "v1-5"}}, 404, "sd_model_checkpoint"),
    ],
)  # fmt: skip
def test_errors_have_a_detail(server: Server, fields: dict[str, Any], status: int, field: str) -> None:
    answer = server.post("/sdapi/v1/txt2img", json={"prompt": PROMPT, **fields})
    assert answer.status_code == status, answer.text
    assert answer.json()["field"] == field
    assert answer.json()["detail"].startswith(f"{field}: ")


def test_an_unknown_path(server: Server) -> None:
    answer = server.post("/sdapi/v1/create/embedding", json={})
    assert (answer.status_code, answer.json()["detail"]) == (404, "there is no /sdapi/v1/create/embedding here")
    wrong = httpx.get(f"{server.url}/sdapi/v1/txt2img")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    bad = httpx.get(f"{server.url}/sdapi/v1/progress?skip_current_image=perhaps")
    assert (bad.status_code, bad.json()["field"]) == (400, "skip_current_image")


@pytest.fixture
def working(guarded_server: Server) -> Iterator[Any]:
    """A txt2img request under way."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(
            guarded_server.post, "/sdapi/v1/txt2img", json=SLOW, headers={"authorization": f"Bearer {KEYS[0]}"}
        )


def test_progress_and_interrupt(guarded_server: Server, working: Any) -> None:
    def progress(key: str, **query: Any) -> dict[str, Any]:
        answer = httpx.get(f"{guarded_server.url}/sdapi/v1/progress", auth=("me", key), params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    wait_for(lambda: progress(KEYS[0])["current_image"] is not None)
    told = progress(KEYS[0])
    assert 0 < told["progress"] < 1
    assert told["eta_relative"] > 0
    assert told["state"]["job_count"] == 1
    assert 0 < told["state"]["sampling_step"] < told["state"]["sampling_steps"] == 150
    assert picture(told["current_image"]).size == (256, 256)
    assert progress(KEYS[0], skip_current_image="true")["current_image"] is None
    assert progress(KEYS[1])["progress"] == 0, "another key's job is seen"
    interrupt = f"{guarded_server.url}/sdapi/v1/interrupt"
    assert httpx.post(interrupt, auth=("me", KEYS[1])).json() == {}
    time.sleep(0.3)
    assert not working.done(), "another key's job is interrupted"
    before = guarded_server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled")
    assert httpx.post(interrupt, auth=("me", KEYS[0])).status_code == 200
    answer = working.result(timeout=10)
    (image,), info = answer.json()["images"], json.loads(answer.json()["info"])  # the half-made picture, as there
    assert picture(image).size == (info["width"], info["height"]) == (256, 256)
    assert (info["interrupted"], info["infotexts"], len(info["all_seeds"])) == (True, [""], 1)
    wait_for(lambda: guarded_server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled") == before + 1)
    assert progress(KEYS[0])["state"]["job"] == ""
