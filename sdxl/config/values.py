"""Values of settings that have a form of their own: folders, URLs, sizes of pictures, powers of two."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from sdxl.config.references import checked


def _urls(value: object) -> tuple[str, ...]:
    urls = tuple(url.strip().rstrip("/") for url in str(value).split(",") if url.strip())
    for url in urls:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError(f"{url} is not a URL like http://host:3001")
    return urls


def _url(value: object) -> str:
    urls = _urls(value)
    if len(urls) != 1:
        raise ValueError("one URL is needed")
    return urls[0]


def _names(value: object) -> tuple[str, ...]:
    return tuple(name.strip() for name in str(value).split(",") if name.strip()) if isinstance(value, str) else ()


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


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise ValueError("there is no such folder")
    return path


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def _checked_or_name(value: object, info: ValidationInfo) -> str:
    try:
        return checked(value)
    except ValueError:
        if not (info.data.get("models") or info.data.get("catalog")) or Path(str(value)).exists():
            raise
        return str(value)  # a name, which is looked up when the files have been seen


Reference = Annotated[str, BeforeValidator(checked)]
ReferenceOrName = Annotated[str, BeforeValidator(_checked_or_name)]
Folder = Annotated[Path, AfterValidator(_folder)]
File = Annotated[Path, AfterValidator(_file)]
Url = Annotated[str, BeforeValidator(_url)]
Names = Annotated[tuple[str, ...], BeforeValidator(_names)]
Urls = Annotated[tuple[str, ...], BeforeValidator(_urls)]
Sizes = Annotated[tuple[tuple[int, int], ...], BeforeValidator(_sizes)]  # (width, height)
FixedRows = Annotated[int, Field(ge=2, le=64), AfterValidator(_power_of_two)]
