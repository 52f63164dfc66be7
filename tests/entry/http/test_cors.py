"""Which pages a browser lets call the server, and read its answers."""

from __future__ import annotations

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from entry.http.cors import Cors
from runners.http import ErrorResponse
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from tests.asgi import Answer, ask, scope_of

PAGE, OTHER = "https://app.example.com", "https://evil.test"
PICTURE = PlainTextResponse("a picture", headers={"x-seed": "7", "server-timing": "queue;dur=1"})
FULL = ErrorResponse(RelayError(429, "queue_full", "the queue is full", retry_after_s=5))


def run(origins: str, origin: str | None, method: str = "POST", app: ASGIApp = PICTURE, **headers: str) -> Answer:
    settings = Settings.from_environment({"SDXL_CORS_ORIGINS": origins})
    given = {} if origin is None else {"origin": origin}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(Cors(app, settings), scope_of("/generate", method, {**given, **named}))


def preflight(origins: str, origin: str, **headers: str) -> Answer:
    return run(origins, origin, "OPTIONS", PICTURE, access_control_request_method="POST", **headers)


def test_a_page_of_the_list_may_ask_and_read() -> None:
    answer = run(PAGE, PAGE)
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "Origin" in answer.headers["vary"]
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-seed", "server-timing", "x-request-id"} <= set(exposed)


def test_it_can_read_errors_too() -> None:
    answer = run(f"https://a.test,{PAGE}", PAGE, app=FULL)
    assert answer.status == 429
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "retry-after" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", [PAGE, OTHER, "null", "http://localhost:5001"])
def test_a_star_is_everybody(origin: str) -> None:
    for answer in (run("*", origin), preflight("*", origin)):
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [OTHER, "null", f"{PAGE}.evil.test", "http://app.example.com", f"{PAGE}:8443"])
def test_any_other_page_may_not(origin: str) -> None:
    assert "access-control-allow-origin" not in run(PAGE, origin).headers
    answer = preflight(PAGE, origin)
    assert answer.status == 400
    assert b'"field":"origin"' in answer.body
    assert b"SDXL_CORS_ORIGINS" in answer.body
    assert "access-control-allow-origin" not in answer.headers
    assert "Origin" in answer.headers["vary"]


def test_a_preflight_allows_every_method_and_header() -> None:
    answer = preflight(
        PAGE, PAGE,
        access_control_request_headers="authorization, content-type, x-timeout-s, x-stainless-os",
        access_control_request_private_network="true",
    )  # fmt: skip
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert {"GET", "POST", "PUT"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert answer.headers["access-control-allow-headers"].startswith("authorization, content-type, x-timeout-s")
    assert answer.headers["access-control-allow-private-network"] == "true"


def test_without_an_origin_nothing_is_added_but_vary() -> None:
    answer = run(PAGE, None)
    assert [name for name in answer.headers if name.startswith("access-control")] == []
    assert answer.headers["vary"] == "Origin"


def test_options_without_a_preflights_headers_is_an_ordinary_request() -> None:
    assert run(PAGE, PAGE, "OPTIONS").body == b"a picture"
