"""Which requests show a key."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import SecretStr

from entry.http.keys import Keys
from sdxl.errors import RelayError

FIRST, SECOND = "first key 16 letters"[:16].replace(" ", "-"), "a:second:key:with:colons"
KEYS = Keys([SecretStr(FIRST), SecretStr(SECOND)])


def scope(authorization: str | None, path: str = "/generate", method: str = "POST") -> dict[str, Any]:
    headers = [] if authorization is None else [(b"authorization", authorization.encode("latin-1"))]
    return {"type": "http", "path": path, "method": method, "headers": headers}


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    "authorization",
    [f"Bearer {FIRST}", f"bearer  {SECOND} ", basic(f":{FIRST}"), basic(f"anybody:{SECOND}")],
)
def test_a_key_opens(authorization: str) -> None:
    KEYS.check(scope(authorization))


@pytest.mark.parametrize(
    "authorization",
    [
        None, "", "Bearer", "Bearer ", FIRST, f"Bearer {FIRST}x", f"Bearer {FIRST[:-1]}", f"Bearer {FIRST},{SECOND}",
        f"Token {FIRST}", basic(FIRST), basic(f"{FIRST}:"), "Basic", "Basic ====", "Basic ü", "Bearer ü",
    ],
)  # fmt: skip
def test_everything_else_does_not(authorization: str | None) -> None:
    with pytest.raises(RelayError) as raised:
        KEYS.check(scope(authorization))
    assert raised.value.status == 401
    assert FIRST not in raised.value.message


def test_a_key_has_the_name_of_its_setting() -> None:
    both = Keys([SecretStr(f"alice:{FIRST}"), SecretStr(f"bob:{'b' * 16}"), SecretStr("c" * 16)])
    assert both.names == ["alice", "bob", "unnamed"]
    assert both.check(scope(f"Bearer {FIRST}")) == "alice"
    assert both.check(scope(basic(f"bob:{'b' * 16}"))) == "bob"
    assert both.check(scope(f"Bearer {'c' * 16}")) == "unnamed"
    assert both.check(scope(f"Bearer alice:{FIRST}")) == "alice", "the setting as a whole"
    for wrong in ("alice", f"bob:{FIRST}", "alice:", f"ALICE:{FIRST}"):
        with pytest.raises(RelayError):
            both.check(scope(f"Bearer {wrong}"))


def test_a_name_may_have_two_keys_while_one_is_changed() -> None:
    both = Keys([SecretStr(f"alice:{FIRST}"), SecretStr(f"alice:{'n' * 16}")])
    assert both.names == ["alice"]
    assert [both.check(scope(f"Bearer {key}")) for key in (FIRST, "n" * 16)] == ["alice", "alice"]


def test_health_and_metrics_are_open_to_get() -> None:
    for path in ("/livez", "/readyz", "/healthz", "/health", "/metrics", "/pictures/a-secret-name.png"):
        KEYS.check(scope(None, path, "GET"))
        with pytest.raises(RelayError):
            KEYS.check(scope(None, path, "POST"))
    for path in ("/", "/docs.json", "/schema.json", "/v1/models", "/livez/", "//livez", "/metrics/../generate"):
        with pytest.raises(RelayError):
            KEYS.check(scope(None, path, "GET"))


def test_without_keys_all_is_open() -> None:
    assert Keys([]).check(scope(None)) == ""
    assert Keys([]).names == []
