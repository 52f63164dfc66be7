"""API keys: asked for on every path but health and metrics, before anything else of a request is looked at."""

from __future__ import annotations

import base64
import socket
from pathlib import Path

import httpx
import openai
import pytest

from tests.conftest import KEYS
from tests.service.server import Server
from tests.service.test_clients import run_python

REQUEST = {"prompt": "a green cone, white background", "num_inference_steps": 6}
GUARDED = [
    ("POST", "/generate"), ("POST", "/generate_stream"), ("POST", "/generate_batch"), ("POST", "/refine"),
    ("POST", "/generate/submit"), ("PUT", "/generate/cancel"), ("GET", "/generate/status"),
    ("GET", "/"), ("GET", "/docs.json"), ("GET", "/schema.json"), ("GET", "/nothing"), ("POST", "/metrics"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), GUARDED)
def test_without_a_key(guarded_server: Server, method: str, path: str) -> None:
    answer = httpx.request(method, f"{guarded_server.url}{path}", headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401
    assert answer.json()["code"] == "wrong_key"
    challenges = answer.headers.get_list("www-authenticate")
    assert [challenge.split()[0] for challenge in challenges] == ["Basic", "Bearer"]


@pytest.mark.parametrize("path", ["/livez", "/health", "/healthz", "/readyz", "/metrics"])
def test_health_and_metrics_are_open(guarded_server: Server, path: str) -> None:
    assert httpx.get(f"{guarded_server.url}{path}").status_code == 200


@pytest.mark.parametrize("key", KEYS)
def test_with_a_key(guarded_server: Server, key: str) -> None:
    basic = base64.b64encode(f"anybody:{key}".encode()).decode()
    for authorization in (f"Bearer {key}", f"Basic {basic}"):
        answer = guarded_server.post("/generate", json=REQUEST, headers={"authorization": authorization})
        assert answer.status_code == 200, answer.text
    document = httpx.get(f"{guarded_server.url}/docs.json", auth=("anybody", key)).json()
    assert document["security"] == [{}, {"bearer": []}, {"basic": []}]
    assert set(document["components"]["securitySchemes"]) == {"bearer", "basic"}


def test_openais_client(guarded_server: Server) -> None:
    with openai.OpenAI(base_url=f"{guarded_server.url}/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            client.images.generate(prompt="a cone")
        assert (raised.value.type, raised.value.code) == ("authentication_error", "wrong_key")
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        with pytest.raises(openai.AuthenticationError):
            client.images.edit(image=b"x" * 5_000_000, prompt="a cone")
    with openai.OpenAI(base_url=f"{guarded_server.url}/v1", api_key=KEYS[0]) as client:
        assert [model.id for model in client.models.list()] == ["mini"]


def test_automatic1111s_error(guarded_server: Server) -> None:
    answer = httpx.get(f"{guarded_server.url}/sdapi/v1/options", auth=("me", "wrong"))
    assert answer.status_code == 401
    assert answer.json()["detail"] == answer.json()["error"]


def test_bentomls_client(guarded_server: Server, tmp_path: Path) -> None:
    code = f"""
import bentoml
with bentoml.SyncHTTPClient("http://127.0.0.1:3000", token="{KEYS[1]}") as client:
    print(client.generate(prompt="a green cone", num_inference_steps=6))
"""
    ended = run_python(code, guarded_server, tmp_path)
    assert ended.returncode == 0, ended.stderr


def test_a_request_is_refused_before_its_body_is_read(guarded_server: Server) -> None:
    host, port = guarded_server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(
            b"POST /refine HTTP/1.1\r\nhost: test\r\ncontent-type: multipart/form-data; boundary=x\r\n"
            b"content-length: 20000000\r\n\r\nthe first bytes"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 401")


def test_keys_are_not_logged(guarded_server: Server) -> None:
    guarded_server.post("/generate", json={"prompt": ""}, headers={"authorization": f"Bearer {KEYS[0]}"})
    guarded_server.post("/generate", json=REQUEST, headers={"authorization": f"Bearer {KEYS[0]}x"})
    assert not any(key in guarded_server.log.read_text() for key in KEYS)
