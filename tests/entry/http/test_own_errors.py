"""Errors that BentoML, Starlette or FastAPI made get a code, and keep what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from entry.http.own_errors import OwnErrors
from runners.access_log import AccessLog
from runners.http import ErrorResponse
from sdxl.errors import RelayError
from tests.asgi import Answer, ask, scope_of

KNOWN = ("/v1/images/generations",)


def run(app: ASGIApp, path: str = "/generate/status", method: str = "GET") -> Answer:
    return ask(AccessLog(OwnErrors(app, KNOWN)), scope_of(path, method))


@pytest.mark.parametrize(
    ("answer", "code", "message"),
    [
        (JSONResponse({"error": "task_id is required"}, 400), "invalid_request", "task_id is required"),
        (JSONResponse({"error": "task_id not found"}, 404), "not_found", "task_id not found"),
        (JSONResponse([{"error": "in a list"}], 400), "invalid_request", "the request was refused (400)"),
        (JSONResponse({"error": "unexpected"}, 500), "internal", "unexpected"),
        (PlainTextResponse("Service Unavailable", 503), "runner_unavailable", "the request was refused (503)"),
        (PlainTextResponse("Not Found", 404), "unknown_path", "there is no /generate/status here"),
        (JSONResponse({"detail": "Not Found"}, 404), "unknown_path", "there is no /generate/status here"),
        (Response(status_code=504), "timeout", "the request was refused (504)"),
        (Response(b"\xff\xfe", 418), "invalid_request", "the request was refused (418)"),
    ],
)
def test_others_errors(answer: Response, code: str, message: str) -> None:
    got = run(answer)
    assert got.status == answer.status_code
    assert json.loads(got.body) == {"error": message, "code": code}
    assert got.headers["content-length"] == str(len(got.body))


def test_a_wrong_method_names_those_that_are_right() -> None:
    got = run(PlainTextResponse("Method Not Allowed", 405, {"Allow": "POST"}), "/generate", "DELETE")
    assert (got.status, got.headers["allow"]) == (405, "POST")
    assert json.loads(got.body) == {"error": "/generate: got DELETE; allowed: POST", "code": "wrong_method"}


def test_a_wrong_base_url_is_explained() -> None:
    got = run(PlainTextResponse("Not Found", 404), "/images/generations")
    assert json.loads(got.body)["error"].endswith("did you mean /v1/images/generations?")


@pytest.mark.parametrize("path", ["/v1/nothing", "/sdapi/v1/nothing"])
def test_each_contract_has_its_form(path: str) -> None:
    said: dict[str, Any] = json.loads(run(PlainTextResponse("Not Found", 404), path).body)
    assert said.get("detail") or said["error"]["code"] == "unknown_path"


def test_our_own_are_left_as_they_are() -> None:
    ours = RelayError(404, "not_found", "there is no such file", field="file", got="x")
    assert json.loads(run(ErrorResponse(ours)).body) == ours.as_json()
    kept = JSONResponse(ours.as_json(), 404)  # as BentoML gives the result of a task back
    assert json.loads(run(kept).body) == ours.as_json()


def test_a_probes_report_is_left_as_it_is() -> None:
    report = {"ready": False, "base": {"ready": 0}}
    got = run(JSONResponse(report, 503), "/readyz")
    assert (got.status, json.loads(got.body)) == (503, report)


def test_what_is_no_error_passes() -> None:
    got = run(PlainTextResponse("fine", headers={"x-seed": "7"}))
    assert (got.status, got.body, got.headers["x-seed"]) == (200, b"fine", "7")


def test_an_app_that_fails_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def app(*_: object) -> None:
        raise ValueError("a bug")

    got = run(app)
    assert (got.status, json.loads(got.body)["code"]) == (500, "internal")
    assert "a bug" in caplog.text
    assert b"bug" not in got.body


def test_one_that_fails_midway_is_cut_off() -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(app)
