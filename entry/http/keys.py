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

from sdxl.errors import RelayError

OPEN = {"/livez", "/readyz", "/healthz", "/metrics"}  # to GET, for whoever watches over the server
WRONG_KEY = RelayError(
    401, "wrong_key", "the server asks for an API key: as a bearer token, or as the password of Basic authentication"
)


class Keys:
    """The API keys, as digests: all have the same length, so that comparing takes the same time for all."""

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._digests = [_digest(key.get_secret_value().encode()) for key in keys]

    def check(self, scope: Scope) -> None:
        """Raises RelayError (401) for a request that shows no key. Nothing else of the request is looked at."""
        if not self._digests or (scope["path"] in OPEN and scope.get("method") in ("GET", "HEAD")):
            return
        given = shown_key(scope)
        if not any([hmac.compare_digest(given, digest) for digest in self._digests]):  # noqa: C419 (all are compared)
            raise WRONG_KEY


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
