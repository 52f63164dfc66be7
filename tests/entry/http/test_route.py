"""What the gate makes of a body's form: byte order marks, other encodings of Unicode, compression."""

from __future__ import annotations

import codecs
import json

import pytest
from starlette.datastructures import Headers

from entry.http.route import FORM, JSON, Route
from sdxl.errors import RelayError

TEXT = '{"prompt": "café \N{SNOWMAN} \N{GRINNING FACE}"}'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
def test_json_is_read_in_every_encoding_that_tells_itself(encoding: str) -> None:
    assert json.loads(Route(JSON).as_utf_8(TEXT.encode(encoding)).decode("utf-8")) == json.loads(TEXT)


def test_utf_16_with_a_mark_of_the_other_order() -> None:
    body = codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be")
    assert Route(JSON).as_utf_8(body).decode() == TEXT


@pytest.mark.parametrize("body", ['{"prompt": "café"}'.encode("latin-1"), b'{"prompt": "\xff"}', b"\xff\xfe\x00"])
def test_what_is_no_unicode_is_refused(body: bytes) -> None:
    with pytest.raises(RelayError, match="not text in UTF-8") as refused:
        Route(JSON).as_utf_8(body)
    assert (refused.value.status, refused.value.code) == (400, "invalid_json")


def test_a_form_is_left_as_it_is() -> None:
    body = codecs.BOM_UTF8 + b"\xff"
    assert Route(FORM).as_utf_8(body) == body


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate", "br", "zstd", "gzip, gzip", "x" * 500])
def test_a_compressed_body_is_refused(coding: str) -> None:
    for media_type in (JSON, FORM):
        with pytest.raises(RelayError, match="content-encoding: got ") as refused:
            Route(media_type).check_media_type(Headers({"content-type": media_type, "content-encoding": coding}))
        assert (refused.value.status, refused.value.field) == (415, "content-encoding")
        assert len(refused.value.message) < 200


@pytest.mark.parametrize("coding", ["", "identity", "Identity", " utf-8 "])
def test_a_body_that_is_not_compressed(coding: str) -> None:
    Route(JSON).check_media_type(Headers({"content-type": JSON, "content-encoding": coding}))


@pytest.mark.parametrize("given", ["", "application/json", "application/json; charset=utf-8", "Application/JSON"])
def test_json_by_its_name_or_by_none(given: str) -> None:
    Route(JSON).check_media_type(Headers({"content-type": given}))
    Route(JSON).check_media_type(Headers({}))
