"""What a form says nothing by: the parts of fields that nobody has filled in."""

from __future__ import annotations

import re

from python_multipart.multipart import parse_options_header

END_OF_HEAD = b"\r\n\r\n"
FILE_NAME = re.compile(rb'filename\*?="?[^"]', re.IGNORECASE)


def without_empty_parts(content_type: str | None, body: bytes) -> bytes:
    """A form (multipart/form-data) without the parts that have neither content nor a file's name.

    HTML's forms and Swagger's page send such a part for each field that was left as it was. An empty file with a
    name is something else: it was chosen, and its sender must hear that it is empty.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        return body
    delimiter = b"\r\n--" + boundary
    parts = (b"\r\n" + body).split(delimiter)
    return delimiter.join(part for part in parts if not _is_empty(part))[2:]


def _is_empty(part: bytes) -> bool:
    head, separator, content = part.partition(END_OF_HEAD)
    return head.startswith(b"\r\n") and bool(separator) and not content and not FILE_NAME.search(head)
