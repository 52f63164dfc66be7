"""What a request's log lines say of it, in the entry and in the runners that work for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self
from uuid import uuid4

from sdxl.errors import RelayError

REQUEST_ID = "x-request-id"
_SAFE_ID = re.compile(r"[\w.~:/+=@-]{1,128}", re.ASCII)
_SAFE_FIELD = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(eq=False, kw_only=True)
class Noted:
    """Of one request. Nothing in it can break a line or stand for another word: it comes from outside."""

    request_id: str
    key: str = ""  # the name of the API key
    code: str = ""  # of the error that it was answered with
    field: str = ""  # at fault

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Self:
        """With the caller's X-Request-Id, up to 128 letters, digits and `-_.~:/+=@`; one of our own for any other."""
        given = headers.get(REQUEST_ID, "")
        return cls(request_id=given if _SAFE_ID.fullmatch(given) else uuid4().hex)


NOTED: ContextVar[Noted | None] = ContextVar("NOTED", default=None)


def note_error(error: RelayError) -> None:
    """For the log line of the request that this task works on. What comes after the first error follows from it."""
    noted = NOTED.get()
    if noted is not None and not noted.code:
        noted.code = error.code
        if error.field is not None:  # a client's own word, where it is a field that there is not
            noted.field = error.field if _SAFE_FIELD.fullmatch(error.field) else "(not shown)"


def note_key(name: str) -> None:
    """The name of the API key that the request has shown."""
    noted = NOTED.get()
    if noted is not None:
        noted.key = name


def request_id_header() -> dict[str, str]:
    """What the next service is told."""
    noted = NOTED.get()
    return {} if noted is None else {REQUEST_ID: noted.request_id}
