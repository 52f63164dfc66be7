"""What becomes of the fields of a form that nobody has filled in."""

from __future__ import annotations

import pytest

from entry.http.empty_parts import without_empty_parts

CONTENT_TYPE = "multipart/form-data; boundary=x-y"
PROMPT = 'content-disposition: form-data; name="prompt"\r\n\r\n%s'
FILE = 'Content-Disposition: form-data; name="mask"; filename="%s"\r\nContent-Type: image/png\r\n\r\n%s'


def form(*parts: str) -> bytes:
    return "".join([*(f"--x-y\r\n{part}\r\n" for part in parts), "--x-y--\r\n"]).encode()


@pytest.mark.parametrize("part", [PROMPT % "", FILE % ("", "")])
def test_an_empty_part_is_left_out(part: str) -> None:
    others = PROMPT % "a cube", FILE % ("mask.png", "pixels")
    for parts in ((part, *others), (*others, part), (others[0], part, part, others[1])):
        assert without_empty_parts(CONTENT_TYPE, form(*parts)) == form(*others)
    assert without_empty_parts(CONTENT_TYPE, form(part)) == form()


@pytest.mark.parametrize(
    "part",
    [
        PROMPT % " ",
        PROMPT % "\r\n",
        PROMPT % "it ends in an empty line\r\n\r\n",
        PROMPT % "--x-",
        FILE % ("an empty file.png", ""),
        FILE % ("", "a file without a name"),
        "name is missing",
    ],
)
def test_all_else_stays_as_it_is(part: str) -> None:
    for body in (form(part), form(PROMPT % "a cube", part) + b"\r\n"):
        assert without_empty_parts(CONTENT_TYPE, body) == body


@pytest.mark.parametrize("content_type", [None, "", "multipart/form-data", "multipart/form-data; boundary="])
def test_without_a_boundary_nothing_is_touched(content_type: str | None) -> None:
    assert without_empty_parts(content_type, form(PROMPT % "")) == form(PROMPT % "")
