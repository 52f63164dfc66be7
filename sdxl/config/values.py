"""Values of settings that have a form of their own: URLs, sizes of pictures, powers of two."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field


def _urls(value: object) -> tuple[str, ...]:
    urls = tuple(url.strip().rstrip("/") for url in str(value).split(",") if url.strip())
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError(f"{url} is not a URL like http://host:3001")
    return urls


def _sizes(value: object) -> tuple[tuple[int, int], ...]:
    found = []
    for size in str(value).split(",") if isinstance(value, str) else ():
        match = re.fullmatch(r"\s*([1-9]\d{1,4})x([1-9]\d{1,4})\s*", size)
        if match is None or int(match[1]) % 8 or int(match[2]) % 8:
            raise ValueError(f"{size} is not a size like 1024x1024, in multiples of 8 pixels")
        found.append((int(match[1]), int(match[2])))
    return tuple(found)


def _power_of_two(rows: int) -> int:
    if rows & (rows - 1):
        raise ValueError("a power of two is needed: only what divides evenly among threads is computed alike")
    return rows


Urls = Annotated[tuple[str, ...], BeforeValidator(_urls)]
Sizes = Annotated[tuple[tuple[int, int], ...], BeforeValidator(_sizes)]  # (width, height)
FixedRows = Annotated[int, Field(ge=2, le=64), AfterValidator(_power_of_two)]
