"""A request's line: its number, what was wrong with it, and nothing in it that could break it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from runners.access_log import AccessLog
from runners.http import ErrorResponse
from runners.noted import NOTED, Noted, note_error, note_key, request_id_header
from sdxl.errors import RelayError, invalid_field
from tests.asgi import Answer, ask, scope_of

GOOD = PlainTextResponse("good")


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "bentoml.access")


def line(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    (only,) = [record for record in caplog.records if record.name == "bentoml.access"]
    return only


def told(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    return dict(line(caplog).__dict__)


def run(app: ASGIApp, path: str = "/generate", request_id: str | None = None, **more: Any) -> Answer:
    headers = {} if request_id is None else {"X-Request-Id": request_id}
    return ask(AccessLog(app, is_asset=lambda path: path.startswith("/ui/")), scope_of(path, headers=headers, **more))


@pytest.mark.parametrize(
    "given",
    [
        "1", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "Root=1-67891233-abcdef012345678912345678",
        "01ARZ3NDEKTSV4RRFFQ69G", "4bf92f3577b34da6a3ce929d0e0e4736", "user@host/path:7", "aGVsbG8+Zm8v==", "a" * 128,
        "_x~y.z",
    ],
)  # fmt: skip
def test_the_callers_number_is_kept(given: str) -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(request_id_header())
        await GOOD(scope, receive, send)

    assert run(app, request_id=given).headers.getlist("x-request-id") == [given]
    assert seen == [{"x-request-id": given}]


@pytest.mark.parametrize(
    "given",
    [
        None, "", " ", "a" * 129, "two words", "a\nb", "a\r\nx-evil: 1", "a\tb", "a\x1b[31m", "a\x00", 'a"b', "a,b",
        "a%0ab", "{7}", "a\\b", "schlüssel", "<b>", "a=1 code=ok", "٣",
    ],
)  # fmt: skip
def test_any_other_is_replaced(given: str | None, caplog: pytest.LogCaptureFixture) -> None:
    headers = {} if given is None else {"x-request-id": given}
    noted = [Noted.of(headers).request_id for _ in range(2)]
    assert all(len(each) == 32 and each.isalnum() for each in noted)
    assert noted[0] != noted[1]
    if given is None or given.isascii():
        answered = run(GOOD, request_id=given).headers["x-request-id"]
        assert answered != given
        assert "\n" not in line(caplog).getMessage()


def test_an_error_is_told_with_its_code_and_field_and_without_its_value(caplog: pytest.LogCaptureFixture) -> None:
    run(ErrorResponse(invalid_field("prompt", "a secret wish", "another")), method="POST")
    record = told(caplog)
    assert (record["status"], record["code"], record["field"]) == (400, "invalid_field", "prompt")
    assert (record["method"], record["path"], record["levelname"]) == ("POST", "/generate", "INFO")
    assert "secret" not in str(record)


@pytest.mark.parametrize("field", ["a red cube\n2026 [INFO] all is well", "x" * 65, "with space", "ü", 'a"', "a=b"])
def test_a_clients_own_word_for_a_field_is_not_told(field: str, caplog: pytest.LogCaptureFixture) -> None:
    run(ErrorResponse(RelayError(400, "unknown_field", "…", field=field)))
    assert told(caplog)["field"] == "(not shown)"


@pytest.mark.parametrize("field", ["num_inference_steps", "requests.0.prompt", "X-Timeout-S", "content-encoding"])
def test_a_fields_name_is_told(field: str, caplog: pytest.LogCaptureFixture) -> None:
    run(ErrorResponse(RelayError(400, "unknown_field", "…", field=field)))
    assert told(caplog)["field"] == field


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a\n2026-01-01 [INFO] forged", "/a%0A2026-01-01%20[INFO]%20forged"),
        ("/\x1b[2J", "/%1B[2J"),
        ("/ü\u2028", "/%C3%BC%E2%80%A8"),
        ("/" + "x" * 500, "/" + "x" * 199 + "…"),
    ],
)
def test_a_path_cannot_break_the_line(path: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    run(GOOD, path)
    assert told(caplog)["path"] == shown
    assert line(caplog).getMessage().startswith(f"GET {shown} 200")


def test_a_client_that_a_proxy_names_cannot_either(caplog: pytest.LogCaptureFixture) -> None:
    run(GOOD, client=("1.2.3.4 code=ok", 0))
    assert told(caplog)["client"] == "1.2.3.4%20code%3Dok:0"


def test_what_is_secret_in_a_path_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    ask(AccessLog(GOOD, secret="/pictures/"), scope_of("//pictures/a-name.png"))
    assert told(caplog)["path"] == "//pictures/%E2%80%A6"
    caplog.clear()
    ask(AccessLog(GOOD, secret="/pictures/"), scope_of("/generate"))
    assert told(caplog)["path"] == "/generate"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/health", "/metrics", "/ui/main.js"])
def test_probes_and_assets_are_not_told(path: str, caplog: pytest.LogCaptureFixture) -> None:
    run(GOOD, path)
    assert line(caplog).levelno == logging.DEBUG


def test_an_asset_that_is_missing_is_told_and_a_probe_is_not(caplog: pytest.LogCaptureFixture) -> None:
    missing = ErrorResponse(RelayError(404, "not_found", "…"))
    run(missing, "/ui/gone.js")
    assert line(caplog).levelno == logging.INFO
    caplog.clear()
    run(ErrorResponse(RelayError(503, "stopping", "…")), "/readyz")
    assert line(caplog).levelno == logging.DEBUG


def test_a_failure_of_the_server_is_a_warning_with_a_code(caplog: pytest.LogCaptureFixture) -> None:
    async def app(*_: object) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(app)
    record = told(caplog)
    assert (record["status"], record["code"], record["levelname"]) == (500, "internal", "WARNING")


def test_a_stream_that_is_cut_off_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def app(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"the beginning", "more_body": True})

    run(app)
    record = told(caplog)
    assert (record["status"], record["code"], record["sent_bytes"]) == (200, "client_left", 13)


def test_a_stream_is_told_once_and_counted_as_a_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        note_key("alice")
        await StreamingResponse(iter([b"one", b"two"]))(scope, receive, send)

    run(app)
    record = told(caplog)
    assert (record["status"], record["sent_bytes"], record["key"]) == (200, 6, "alice")
    assert "code" not in record


@pytest.mark.parametrize(
    ("status", "code"), [(400, "invalid_request"), (404, "unknown_path"), (405, "wrong_method"), (502, "internal")]
)
def test_an_error_that_is_not_ours_has_a_code_too(status: int, code: str, caplog: pytest.LogCaptureFixture) -> None:
    run(PlainTextResponse("not ours", status))
    assert told(caplog)["code"] == code


def test_the_first_error_counts(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        note_error(RelayError(429, "queue_full", "…"))
        await ErrorResponse(RelayError(500, "internal", "…"))(scope, receive, send)

    run(app)
    assert told(caplog)["code"] == "queue_full"


def test_without_a_request_nothing_is_noted() -> None:
    NOTED.set(None)
    ask(ErrorResponse(RelayError(429, "queue_full", "…")), scope_of("/"))
    assert NOTED.get() is None
    assert request_id_header() == {}
