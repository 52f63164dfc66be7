"""What the three services say of a request: its number, its key's name, its error, its trace. What a page may read."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.conftest import KEYS, NAMED_KEY, ORIGIN
from tests.service.server import Server
from tests.service.test_disconnect import wait_for

REQUEST: dict[str, Any] = {"prompt": "a green cone, white background", "num_inference_steps": 6, "seed": 1}
ALICE = {"authorization": f"Bearer {NAMED_KEY[1]}"}
SERVICES = {"entry_service:sdxl_relay:1", "service:sdxl_base:1", "service:sdxl_refiner:1"}


def lines(server: Server, request_id: str) -> list[dict[str, Any]]:
    """Those of a request, of a server whose log is JSON."""
    every = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in every if line.get("request_id") == request_id]


def entrys_line(server: Server, request_id: str) -> dict[str, Any]:
    wait_for(lambda: any("sdxl_relay" in line["service"] for line in lines(server, request_id)))
    (line,) = [line for line in lines(server, request_id) if "sdxl_relay" in line["service"]]
    return line


def test_every_line_is_json(guarded_server: Server) -> None:
    guarded_server.post("/generate", json={"prompt": ""}, headers=ALICE)
    for line in guarded_server.log.read_text().splitlines():
        assert {"timestamp", "level", "service", "logger", "message"} <= set(json.loads(line)), line


@pytest.mark.parametrize("path", ["/generate", "/generate_stream", "/v1/images/generations"])
def test_a_requests_number_goes_through_all_three(guarded_server: Server, path: str) -> None:
    request_id = f"number-of{path.replace('/', '-')}"
    answer = guarded_server.post(path, json=REQUEST, headers={**ALICE, "x-request-id": request_id})
    assert (answer.status_code, answer.headers["x-request-id"]) == (200, request_id)
    wait_for(lambda: {line["service"] for line in lines(guarded_server, request_id)} == SERVICES)
    line = entrys_line(guarded_server, request_id)
    assert (line["path"], line["status"], line["key"]) == (path, 200, "alice")


def test_so_does_that_of_a_list(guarded_server: Server) -> None:
    body = {"requests": [REQUEST, {**REQUEST, "seed": -1}]}
    guarded_server.post("/generate_batch", json=body, headers={**ALICE, "x-request-id": "a-list"})
    wait_for(lambda: {line["service"] for line in lines(guarded_server, "a-list")} == SERVICES)
    line = entrys_line(guarded_server, "a-list")
    assert (line["status"], line["code"], line["field"]) == (200, "invalid_field", "seed")


@pytest.mark.parametrize(
    ("path", "fields", "code", "field"),
    [
        ("/generate", {"prompt": "a secret wish", "seed": -1}, "invalid_field", "seed"),
        ("/generate", {"prompt": "a secret wish", "clip_skip": 30}, "invalid_field", "clip_skip"),
        ("/generate", {"prompt": "a secret wish", "a secret wish": 1}, "unknown_field", "(not shown)"),
        ("/generate_stream", {"prompt": "a secret wish", "seed": -1}, "invalid_field", "seed"),
        ("/v1/images/generations", {"prompt": "a secret wish", "size": "1x1"}, "invalid_field", "size"),
        ("/sdapi/v1/txt2img", {"prompt": "a secret wish", "steps": 0}, "invalid_field", "steps"),
        ("/nothing", {"prompt": "a secret wish"}, "unknown_path", None),
    ],
)
def test_an_error_has_its_code_and_field(
    guarded_server: Server, path: str, fields: dict[str, Any], code: str, field: str | None
) -> None:
    answer = guarded_server.post(path, json=fields, headers=ALICE)
    assert 400 <= answer.status_code < 500
    line = entrys_line(guarded_server, answer.headers["x-request-id"])
    assert (line["status"], line["code"], line.get("field")) == (answer.status_code, code, field)
    assert "secret wish" not in guarded_server.log.read_text()


def test_a_stages_refusal_is_in_its_own_line_too(guarded_server: Server) -> None:
    wrong = {**REQUEST, "clip_skip": 30}
    answer = guarded_server.post("/generate", json=wrong, headers={**ALICE, "x-request-id": "refused"})
    assert answer.status_code == 400
    wait_for(lambda: len(lines(guarded_server, "refused")) == 2)
    assert {(line["code"], line["field"]) for line in lines(guarded_server, "refused")} == {
        ("invalid_field", "clip_skip")
    }


def test_a_key_is_told_by_its_name_and_counted(guarded_server: Server) -> None:
    def counted(key: str, status: str) -> float:
        return guarded_server.metric("sdxl_relay_requests_total", endpoint="/generate", key=key, status=status)

    before = [counted("alice", "200"), counted("unnamed", "400"), counted("", "401")]
    guarded_server.post("/generate", json=REQUEST, headers=ALICE)
    guarded_server.post("/generate", json={}, headers={"authorization": f"Bearer {KEYS[1]}"})
    guarded_server.post("/generate", json={}, headers={"authorization": "Bearer wrong", "x-request-id": "no-key"})
    now = [counted("alice", "200"), counted("unnamed", "400"), counted("", "401")]
    assert [after - then for after, then in zip(now, before, strict=True)] == [1, 1, 1]
    line = entrys_line(guarded_server, "no-key")
    assert (line["code"], "key" in line) == ("wrong_key", False)
    published = httpx.get(f"{guarded_server.url}/metrics").text
    for key in (*KEYS, NAMED_KEY[1]):
        assert key not in published + guarded_server.log.read_text()


def test_a_trace_goes_through_all_three(guarded_server: Server) -> None:
    """The caller's, if it is sampled; BentoML keeps the spans, and sends them where it is told to."""
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {**ALICE, "traceparent": f"00-{trace_id}-b7ad6b7169203331-01", "x-request-id": "traced"}
    assert guarded_server.post("/generate", json=REQUEST, headers=headers).status_code == 200
    wait_for(lambda: {line["service"] for line in lines(guarded_server, "traced")} == SERVICES)
    assert {line["trace_id"] for line in lines(guarded_server, "traced")} == {trace_id}
    assert len({line["span_id"] for line in lines(guarded_server, "traced")}) == 3


def test_probes_and_assets_have_no_line(guarded_server: Server) -> None:
    with httpx.Client(base_url=guarded_server.url, auth=("me", NAMED_KEY[1]), timeout=60) as client:
        quiet = [client.get(path) for path in ("/livez", "/readyz", "/metrics", "/static_content/swagger-ui.css")]
        assert [answer.status_code for answer in quiet] == [200] * 4
        missing = client.get("/static_content/nothing.css").headers["x-request-id"]
    assert entrys_line(guarded_server, missing)["status"] == 404
    assert not any(lines(guarded_server, answer.headers["x-request-id"]) for answer in quiet)


@pytest.mark.parametrize(
    ("path", "key", "body", "status"),
    [
        ("/generate", ALICE, REQUEST, 200),
        ("/generate_stream", ALICE, REQUEST, 200),
        ("/generate_batch", ALICE, {"requests": [REQUEST]}, 200),
        ("/v1/images/generations", ALICE, REQUEST, 200),
        ("/v1/images/generations", ALICE, {**REQUEST, "stream": True}, 200),
        ("/sdapi/v1/txt2img", ALICE, {"prompt": "a cone", "steps": 6}, 200),
        ("/generate", {}, REQUEST, 401),
        ("/v1/images/generations", {}, REQUEST, 401),
        ("/generate", ALICE, {}, 400),
        ("/sdapi/v1/txt2img", ALICE, {}, 400),
        ("/refine", ALICE, {}, 415),
        ("/nothing", ALICE, {}, 404),
    ],
)
def test_a_page_may_read_every_answer(
    guarded_server: Server, path: str, key: dict[str, str], body: dict[str, Any], status: int
) -> None:
    answer = guarded_server.post(path, json=body, headers={**key, "origin": ORIGIN})
    assert answer.status_code == status, answer.text
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].split(",")}
    ours = {name for name in answer.headers if name.startswith("x-") or name in ("retry-after", "server-timing")}
    assert ours <= exposed
    stranger = guarded_server.post(path, json={}, headers={**key, "origin": "https://evil.test"})
    assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize("path", ["/generate", "/refine", "/v1/images/edits", "/sdapi/v1/txt2img", "/generate/cancel"])
def test_a_browser_may_ask_without_a_key(guarded_server: Server, path: str) -> None:
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-request-id",
    }
    answer = httpx.options(f"{guarded_server.url}{path}", headers=asked)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert "authorization" in answer.headers["access-control-allow-headers"]
    assert httpx.options(f"{guarded_server.url}{path}", headers={**asked, "origin": "null"}).status_code == 400


def test_without_the_setting_no_page_may(server: Server) -> None:
    answer = server.post("/generate", json={}, headers={"origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control")]
