"""The log of every service, as text or as JSON, without what libraries say to their developers.

BentoML's own handler stays; what is changed is the form of its lines, and what they say of the request at work.
"""

from __future__ import annotations

import logging
from typing import Literal

import bentoml
from opentelemetry import trace
from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from runners.noted import NOTED

logger = logging.getLogger("bentoml.sdxl_relay")
CHATTY = {
    "bentoml.serve": logging.WARNING,  # the names of its hooks
    "torchao": logging.ERROR,  # which of its kernels are not for this machine
    "torch.utils._pytree": logging.ERROR,
}
BENTOML_HANDLER = "tracehandler"
BENTOML_ATTRIBUTES = ("component", "levelname_bracketed", "service_name", "trace_msg")  # its filter's
TOLD = ("request_id", "key", "code", "field", "client", "trace_id", "span_id")  # after a line of text, where there are


def quiet_libraries() -> None:
    """To be called before they are imported; what they read from the environment is in runners/__init__.py."""
    for name, level in CHATTY.items():
        logging.getLogger(name).setLevel(level)


def set_up_log(log_format: Literal["text", "json"]) -> None:
    """To be called in every process of a server, when BentoML has set up its own."""
    for handler in logging.getLogger("bentoml").handlers:
        if handler.name == BENTOML_HANDLER:  # a server's; other commands of BentoML's have others
            handler.addFilter(_tell_of_the_request)
            handler.setFormatter(JSON if log_format == "json" else TEXT)
            logging.captureWarnings(log_format == "json")


def _tell_of_the_request(record: logging.LogRecord) -> bool:
    """Adds which request a line is about. BentoML has a number of its own under `request_id`."""
    record.__dict__.pop("request_id", None)
    noted = NOTED.get()
    if noted is not None:
        record.request_id = noted.request_id
    span = trace.get_current_span().get_span_context()
    if span.trace_flags.sampled:
        record.trace_id, record.span_id = trace.format_trace_id(span.trace_id), trace.format_span_id(span.span_id)
    # BentoML's `component` stays empty where a library has logged before the service had its name.
    service = bentoml.server_context
    record.service = ":".join(
        str(each) for each in (service.service_type, service.service_name, service.worker_index) if each
    )
    told = (f"{name}={value}" for name in TOLD if (value := record.__dict__.get(name)))
    record.told = "".join(f" {each}" for each in told)
    return True


TEXT = logging.Formatter("%(asctime)s [%(levelname)s] [%(service)s] %(message)s%(told)s", "%Y-%m-%dT%H:%M:%S%z")
JSON = JsonFormatter(
    ["levelname", "service", "name", "message"],
    rename_fields={"levelname": "level", "name": "logger"},
    reserved_attrs=[*RESERVED_ATTRS, *BENTOML_ATTRIBUTES, "told"],
    timestamp=True,
)
