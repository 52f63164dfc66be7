"""The form of the log's lines: text as a person reads it, JSON as a program does."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import bentoml
import pytest
from opentelemetry import trace

from runners.log import BENTOML_HANDLER, set_up_log
from runners.noted import NOTED, Noted

LOGGER = logging.getLogger("bentoml.sdxl_relay")


class OfBentoML(logging.Filter):
    """What BentoML's own filter adds."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.levelname_bracketed, record.component = f"[{record.levelname}]", "[]"
        record.request_id, record.service_name, record.trace_msg = 12345, "sdxl_base", " (trace=0)"
        return True


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What BentoML's handler writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.name = BENTOML_HANDLER
    handler.addFilter(OfBentoML())
    root = logging.getLogger("bentoml")
    root.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    token = NOTED.set(Noted(request_id="my-request"))
    for name, value in (("service_type", "service"), ("service_name", "sdxl_base"), ("worker_index", 1)):
        monkeypatch.setattr(bentoml.server_context, name, value)
    yield written
    NOTED.reset(token)
    root.removeHandler(handler)
    logging.captureWarnings(False)


def test_text(output: io.StringIO) -> None:
    set_up_log("text")
    LOGGER.info("a job failed", extra={"code": "job_failed", "field": "seed", "client": "127.0.0.1:7"})
    time, rest = output.getvalue().split(" ", 1)
    assert time[4] == "-"
    assert rest == (
        "[INFO] [service:sdxl_base:1] a job failed request_id=my-request code=job_failed field=seed "
        "client=127.0.0.1:7\n"
    )


def test_json_is_one_object_a_line_whatever_is_in_it(output: io.StringIO) -> None:
    set_up_log("json")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        LOGGER.exception('a "job"\nfailed: %s', "ü\u2028")
    LOGGER.info("the end")
    first, second = (json.loads(line) for line in output.getvalue().splitlines())
    assert (first["message"], first["level"]) == ('a "job"\nfailed: ü\u2028', "ERROR")
    assert "two\nlines" in first["exc_info"]
    assert set(second) == {"timestamp", "level", "service", "logger", "message", "request_id"}
    assert second["request_id"] == "my-request"
    assert (second["service"], second["logger"]) == ("service:sdxl_base:1", "bentoml.sdxl_relay")


def test_outside_of_a_request_there_is_no_number(output: io.StringIO) -> None:
    NOTED.set(None)
    set_up_log("json")
    LOGGER.info("ready")
    assert "request_id" not in json.loads(output.getvalue())


@pytest.mark.parametrize(("sampled", "are_told"), [(1, True), (0, False)])
def test_a_trace_is_told_where_one_is_kept(sampled: int, are_told: bool, output: io.StringIO) -> None:
    context = trace.SpanContext(0x0AF7, 0xB7AD, is_remote=False, trace_flags=trace.TraceFlags(sampled))
    set_up_log("json")
    with trace.use_span(trace.NonRecordingSpan(context)):
        LOGGER.info("at work")
    told = json.loads(output.getvalue())
    assert told.get("trace_id") == (f"{0x0AF7:032x}" if are_told else None)
    assert told.get("span_id") == (f"{0xB7AD:016x}" if are_told else None)


def test_other_handlers_are_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    before = caplog.handler.formatter
    set_up_log("json")
    assert caplog.handler.formatter is before
