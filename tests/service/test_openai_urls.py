"""Pictures by URL, any name of a model, and /health: what other clients of OpenAI's API expect."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from tests.conftest import KEYS
from tests.service.server import Server, Serving, free_port, serving
from tests.service.test_disconnect import wait_for
from tests.service.test_openai import PROMPT, QUICK
from tests.service.test_openai_edits import PICTURE

QUICK_EDIT = {"seed": 1, "num_inference_steps": 8}


@pytest.fixture(scope="module")
def other_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It takes any name for its model, and keeps pictures for a second only."""
    settings: dict[str, Any] = {
        "SDXL_OPENAI_MODELS": "any",
        "SDXL_URL_KEEP_S": 1,
        "SDXL_PUBLIC_URL": "https://pictures.test/sdxl",
    }
    with serving(tmp_path_factory.mktemp("any"), SDXL_MAX_ROWS=4, SDXL_REFINER="none", **settings) as running:
        yield running


def test_a_picture_by_url(client: openai.OpenAI, server: Server) -> None:
    answer = client.images.generate(n=2, response_format="url", output_format="webp", **QUICK)
    assert answer.data is not None
    assert len({image.url for image in answer.data}) == 2
    for seed, image in zip((1, 2), answer.data, strict=True):
        assert image.b64_json is None
        assert image.url is not None
        assert image.url.startswith(f"{server.url}/pictures/")
        fetched = httpx.get(image.url)
        assert (fetched.status_code, fetched.headers["content-type"]) == (200, "image/webp")
        assert Image.open(BytesIO(fetched.content)).size == (128, 128)
        assert httpx.head(image.url).headers["content-length"] == str(len(fetched.content))
        assert (image.model_extra or {})["seed"] == seed
    assert "/pictures/…" in server.log.read_text().replace("%E2%80%A6", "…")
    secret = (answer.data[0].url or "").rsplit("/", 1)[1]
    assert secret not in server.log.read_text(), "the log tells a picture's name"


@pytest.mark.parametrize("model", ["dall-e-2", "dall-e-3"])
def test_dall_es_default_is_a_url(client: openai.OpenAI, model: str) -> None:
    answer = client.images.generate(model=model, **QUICK)
    assert answer.data is not None
    assert (answer.data[0].url or "").endswith(".png")


def test_an_edit_by_url(client: openai.OpenAI) -> None:
    answer = client.images.edit(image=PICTURE, prompt=PROMPT, response_format="url", extra_body=QUICK_EDIT)
    assert answer.data is not None
    assert httpx.get(answer.data[0].url or "").headers["content-type"] == "image/png"


def test_no_key_is_needed_for_a_url(guarded_server: Server) -> None:
    with openai.OpenAI(base_url=f"{guarded_server.url}/v1", api_key=KEYS[0], max_retries=0) as client:
        answer = client.images.generate(response_format="url", **QUICK)
    assert answer.data is not None
    url = answer.data[0].url or ""
    assert np.asarray(Image.open(BytesIO(httpx.get(url).content))).shape == (128, 128, 3)
    assert httpx.get(f"{url}x").status_code == 404
    assert httpx.post(url).status_code == 401


def test_a_forwarded_scheme_counts_from_this_machine(server: Server) -> None:
    """As uvicorn honours it: a proxy's on the same host, and those of FORWARDED_ALLOW_IPS."""
    body = {"prompt": PROMPT, "num_inference_steps": 6, "response_format": "url"}
    headers = {"x-forwarded-proto": "https", "host": "pictures.test"}
    answer = server.post("/v1/images/generations", json=body, headers=headers).json()
    assert answer["data"][0]["url"].startswith("https://pictures.test/pictures/")


def test_a_picture_that_is_no_more(server: Server) -> None:
    answer = httpx.get(f"{server.url}/pictures/none.png")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_any_name_of_a_model(other_server: Server) -> None:
    with openai.OpenAI(base_url=f"{other_server.url}/v1", api_key="none", max_retries=0) as client:
        for model in ("flux.1-schnell", "default", "mini", "sdxl"):
            answer = client.images.generate(model=model, **QUICK)
            assert (answer.model_extra or {})["model"] == "mini"
        assert client.models.retrieve("flux.1-schnell").id == "mini"


def test_a_public_url_and_its_time(other_server: Server) -> None:
    body = {"prompt": PROMPT, "num_inference_steps": 4, "response_format": "url"}
    url = other_server.post("/v1/images/generations", json=body).json()["data"][0]["url"]
    assert url.startswith("https://pictures.test/sdxl/pictures/")
    here = other_server.url + url.removeprefix("https://pictures.test/sdxl")
    assert httpx.get(here).status_code == 200
    wait_for(lambda: httpx.get(here).status_code == 404, timeout_s=10)


def test_without_memory_for_urls(tmp_path: Path) -> None:
    with serving(tmp_path, SDXL_REFINER="none", SDXL_MAX_ROWS=4, SDXL_URL_KEEP_MB=0) as server:
        body = {"prompt": PROMPT, "num_inference_steps": 4}
        refused = server.post("/v1/images/generations", json={**body, "response_format": "url"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format")
        answer = server.post("/v1/images/generations", json={**body, "model": "dall-e-3"}).json()
        assert answer["data"][0]["b64_json"]


def test_health_waits_for_the_stages(server: Server, tmp_path: Path) -> None:
    """As SGLang's clients ask before they send anything."""
    assert httpx.get(f"{server.url}/health").json()["ready"] is True
    waiting = Serving(tmp_path, SDXL_BASE_URL=f"http://127.0.0.1:{free_port()}", SDXL_REFINER="none")
    waiting.start()
    try:
        wait_for(lambda: _status(f"{waiting.server.url}/livez") == 200)
        assert _status(f"{waiting.server.url}/health") == 503
    finally:
        waiting.stop()


def _status(url: str) -> int:
    try:
        return httpx.get(url).status_code
    except httpx.TransportError:
        return 0
