"""The settings' values that say who may call: API keys, runners' tokens, and the origins of web pages."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, SecretStr

MIN_CHARACTERS = 16
UNNAMED = "unnamed"
_NAMED = re.compile(rf"([A-Za-z0-9][\w.@-]{{0,31}}):(.{{{MIN_CHARACTERS},}})", re.ASCII)
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@*,\s]+")
_USUAL_PORT = re.compile(r"(?:(http://.+):80|(https://.+):443)$")


def named(key: str) -> tuple[str, str]:
    """The name and the key of `name:key`; all else is a key without a name, whatever colons it has."""
    match = _NAMED.fullmatch(key)
    return (match[1], match[2]) if match else (UNNAMED, key)


def _parts(value: object) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else ()


def _is_secret(text: str) -> bool:
    return len(text) >= MIN_CHARACTERS and text.isascii() and text.isprintable()


def _keys(value: object) -> tuple[str, ...]:
    keys = _parts(value)
    if not all(_is_secret(key) and " " not in key for key in keys):
        raise ValueError("every key must have 16 characters at least, of printable ASCII without spaces")
    return keys


def _tokens(value: object) -> tuple[str, ...]:
    tokens = _parts(value)
    if not all(map(_is_secret, tokens)):
        raise ValueError("every token must have 16 characters at least, of printable ASCII")
    return tokens


def _origins(value: object) -> tuple[str, ...]:
    """As browsers send them: in small letters, without a port that is the scheme's own."""
    origins = tuple(part.rstrip("/").lower() for part in _parts(value) if part)
    for origin in origins:
        if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin} is not an origin like https://app.example.com, nor *")
    return tuple(_USUAL_PORT.sub(r"\1\2", origin) for origin in origins)


Keys = Annotated[tuple[SecretStr, ...], BeforeValidator(_keys)]
Tokens = Annotated[tuple[SecretStr, ...], BeforeValidator(_tokens)]
Origins = Annotated[tuple[str, ...], BeforeValidator(_origins)]
