"""Requests as clients, browsers and proxies really send them: HEAD, slashes, byte order marks, compression."""

from __future__ import annotations

import gzip
import json
from typing import Any

import httpx
import pytest

from tests.service.server import Server
from tests.service.test_refine import a_picture, as_png

REQUEST: dict[str, Any] = {"prompt": "a green cone, white background", "num_inference_steps": 4, "seed": 1}
JSON = {"content-type": "application/json"}
PAGES = ["/", "/docs", "/docs/", "/docs.json", "/ui", "/ui/", "/livez", "/readyz", "/healthz", "/health", "/metrics"]


def readable(server: Server) -> list[str]:
    """Every path that the document has for GET, without what stands in braces."""
    paths: dict[str, Any] = httpx.get(f"{server.url}/docs.json", timeout=30).json()["paths"]
    return [path.replace("{name}", "sdxl") for path, operations in paths.items() if "get" in operations]


def test_head_is_answered_as_get_without_a_body(server: Server) -> None:
    for path in {*PAGES, *readable(server)}:
        head, got = (httpx.request(method, f"{server.url}{path}", timeout=60) for method in ("HEAD", "GET"))
        assert head.status_code == got.status_code < 500, path
        assert head.content == b"", path
        assert head.headers.get("content-type") == got.headers.get("content-type"), path


def test_head_of_what_only_takes_a_post_says_so(server: Server) -> None:
    for path in ("/generate", "/v1/images/generations", "/sdapi/v1/txt2img"):
        head = httpx.head(f"{server.url}{path}")
        assert (head.status_code, head.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["//generate", "/generate/", "///generate//", "/generate"])
def test_slashes_too_many(server: Server, path: str) -> None:
    answer = server.post(path, json=REQUEST)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")


@pytest.mark.parametrize("path", ["/v1//images/generations", "//v1/images/generations/"])
def test_slashes_too_many_in_openais_paths(server: Server, path: str) -> None:
    assert server.post(path, json={"prompt": ""}).json()["error"]["param"] == "prompt"


def test_a_page_with_a_slash_too_many_finds_its_parts(server: Server) -> None:
    page = httpx.get(f"{server.url}/docs/", follow_redirects=True)
    assert (page.status_code, page.url.path) == (200, "/docs")
    assert httpx.get(f"{server.url}//docs.json", timeout=30).json()["openapi"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("POST", "/images/generations", 404, "unknown_path"),
        ("GET", "/nothing", 404, "unknown_path"),
        ("GET", "/ui/nothing.js", 404, "not_found"),
        ("GET", "/static_content/nothing.js", 404, "unknown_path"),
        ("GET", "/generate", 405, "wrong_method"),
        ("DELETE", "/generate_stream", 405, "wrong_method"),
        ("POST", "/docs.json", 405, "wrong_method"),
        ("GET", "/generate/status", 400, "invalid_request"),
        ("GET", "/generate/get?task_id=none", 404, "not_found"),
    ],
)
def test_every_error_has_a_code(server: Server, method: str, path: str, status: int, code: str) -> None:
    answer = httpx.request(method, f"{server.url}{path}", timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["error"]
    assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_of_windows(server: Server, encoding: str) -> None:
    body = json.dumps(REQUEST).encode(encoding)
    answer = server.post("/generate", content=body, headers=JSON)
    assert (answer.status_code, answer.headers["x-seed"]) == (200, "1")
    (result,) = server.post(
        "/generate_batch", content=json.dumps({"requests": [REQUEST]}).encode(encoding), headers=JSON
    ).json()
    assert result["error"] is None
    for path in ("/v1/images/generations", "/sdapi/v1/txt2img"):
        wrong = server.post(path, content=json.dumps({"prompt": ""}).encode(encoding), headers=JSON)
        assert wrong.status_code == 400
        assert "prompt" in wrong.text


def test_a_compressed_body_is_a_415(server: Server) -> None:
    body = gzip.compress(json.dumps(REQUEST).encode())
    for path in ("/generate", "/generate_stream", "/generate_batch", "/generate/submit", "/sdapi/v1/txt2img"):
        answer = server.post(path, content=body, headers={**JSON, "content-encoding": "gzip"})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_encoding"), path
        assert answer.json()["field"] == "content-encoding"
    files = {"image": ("p.png", as_png(a_picture()))}
    form = server.post("/refine", data={"prompt": "a"}, files=files, headers={"content-encoding": "gzip"})
    assert form.status_code == 415
    openai = server.post("/v1/images/generations", content=body, headers={**JSON, "content-encoding": "br"})
    assert openai.json()["error"]["code"] == "unsupported_encoding"


def test_a_path_that_nobody_has_costs_no_memory(server: Server) -> None:
    """BentoML's own metrics would keep a series for each."""
    with httpx.Client(base_url=server.url) as client:
        client.get("/made-up")
        before = len(client.get("/metrics").text)
        for number in range(50):
            assert client.get(f"/made-up/{number}").status_code == 404
        assert len(client.get("/metrics").text) < before + 200
    assert server.metric("sdxl_relay_requests_total", endpoint="other", status="404") > 50
