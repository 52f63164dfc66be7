"""Who may call the entry: whoever shows one of the API keys (SDXL_API_KEYS), or everybody where there are none."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import Scope

from entry.http.paths import PICTURES
from runners.access_log import PROBES
from sdxl.config.access import named
from sdxl.errors import RelayError

WRONG_KEY = RelayError(
    401, "wrong_key", "the server asks for an API key: as a bearer token, or as the password of Basic authentication"
)


class Keys:
    """The API keys, as digests: all have the same length, so that comparing takes the same time for all."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._names: dict[bytes, str] = {}
        for setting in (key.get_secret_value() for key in keys):
            name, key = named(setting)
            for shown in (setting, key):  # the first: a key from before there were names may look like one with a name
                self._names[_digest(shown.encode())] = name

    @property
    def names(self) -> list[str]:
        """Of all keys, each once."""
        return sorted(set(self._names.values()))

    def check(self, scope: Scope) -> str:
        """The name of the key that a request shows; empty where none is asked for.

        Raises RelayError (401) for a request that shows no key. Nothing else of the request is looked at.
        """
        is_open = scope["path"] in PROBES or scope["path"].startswith(PICTURES)
        if not self._names or (is_open and scope.get("method") in ("GET", "HEAD")):
            return ""
        given = shown_key(scope)
        found = [name for digest, name in self._names.items() if hmac.compare_digest(given, digest)]  # all are compared
        if not found:
            raise WRONG_KEY
        return found[0]


def shown_key(scope: Scope) -> bytes:
    """The digest of what a request shows as its key, right or wrong."""
    return _digest(_shown(Headers(scope=scope).get("authorization", "")))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _shown(authorization: str) -> bytes:
    """The key in a header; browsers and AUTOMATIC1111's clients can show one only as a Basic password."""
    scheme, _, shown = authorization.strip().partition(" ")
    if scheme.lower() == "bearer":
        return shown.strip().encode()
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(shown.strip(), validate=True).partition(b":")[2]
    except (binascii.Error, ValueError):
        return b""
