"""Errors as OpenAI's own Python client sees them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from tests.conftest import KEYS
from tests.service.server import Server
from tests.service.test_openai import PROMPT, QUICK, SLOW


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/nothing", b"", 404, "unknown_path"),
        ("GET", "/v1/images/generations", b"", 405, "wrong_method"),
        ("POST", "/v1/images/generations", b"{", 400, "invalid_json"),
        ("POST", "/v1/images/generations", b"x" * 300_000, 413, "body_too_large"),
        ("POST", "/v1/images/edits", b"{}", 415, "unsupported_media_type"),
    ],
)
def test_every_error_has_openais_shape(
    server: Server, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    answer = httpx.request(method, f"{server.url}{path}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


def test_a_time_limit(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as raised:
        client.images.generate(extra_headers={"X-Timeout-S": "0.5"}, **SLOW)
    assert (raised.value.status_code, raised.value.code, raised.value.type) == (504, "timeout", "server_error")
    assert int(raised.value.response.headers["retry-after"]) > 0
    with pytest.raises(openai.BadRequestError) as bad:
        client.images.generate(extra_headers={"X-Timeout-S": "soon"}, **QUICK)
    assert bad.value.param == "X-Timeout-S"


def test_the_time_limit_of_a_stream_is_an_event(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="the job was not done within") as raised:
        list(client.images.generate(stream=True, extra_headers={"X-Timeout-S": "0.8"}, **SLOW))
    assert raised.value.code == "timeout"


def test_a_full_queue(guarded_server: Server) -> None:
    def post(_: int) -> Exception:
        with (
            openai.OpenAI(base_url=f"{guarded_server.url}/v1", api_key=KEYS[0], max_retries=0) as client,
            pytest.raises(openai.APIStatusError) as raised,
        ):
            client.images.generate(extra_headers={"X-Timeout-S": "6"}, **SLOW)
        return raised.value

    with ThreadPoolExecutor(8) as pool:
        errors = list(pool.map(post, range(8)))
    full = [error for error in errors if isinstance(error, openai.RateLimitError)]
    assert len(full) == 4
    for error in full:
        assert (error.type, error.code) == ("rate_limit_error", "queue_full")
        assert int(error.response.headers["retry-after"]) > 0


def test_more_pictures_than_the_queue_holds(guarded_server: Server) -> None:
    with openai.OpenAI(base_url=f"{guarded_server.url}/v1", api_key=KEYS[0], max_retries=0) as client:
        answer = client.images.generate(n=6, **QUICK)
    assert answer.data is not None
    assert [(image.model_extra or {})["seed"] for image in answer.data] == [1, 2, 3, 4, 5, 6]


def test_too_many_pixels_are_told_as_a_size(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match='size: got "2048 x 1024"; allowed: width x height of at most'):
        client.images.generate(prompt=PROMPT, size="2048x1024")


def test_there_are_no_variations(server: Server) -> None:
    answer = server.post("/v1/images/variations", files={"image": b"a picture"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_path")
    assert "send one to /v1/images/edits" in answer.json()["error"]["message"]
