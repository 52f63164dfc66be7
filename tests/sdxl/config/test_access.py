"""Keys with and without a name, tokens, and origins as browsers send them."""

from __future__ import annotations

import pytest

from sdxl.config.access import UNNAMED, named
from sdxl.config.settings import ConfigurationError, Settings

KEY = "0123456789abcdef"


@pytest.mark.parametrize("name", ["alice", "web-app", "team.a", "me@example.com", "7", "a" * 32])
def test_a_name_and_a_key(name: str) -> None:
    assert named(f"{name}:{KEY}") == (name, KEY)
    assert named(f"{name}:{KEY}:and:more") == (name, f"{KEY}:and:more")


@pytest.mark.parametrize(
    "key", [KEY, f":{KEY}", "a-name-of-many-signs:short", f"{'a' * 33}:{KEY}", f"a/b:{KEY}", f"-a:{KEY}", f"ä:{KEY}"]
)
def test_all_else_is_a_key_without_a_name(key: str) -> None:
    assert named(key) == (UNNAMED, key)


def test_tokens_are_one_or_several() -> None:
    def tokens(value: str) -> list[str]:
        given = Settings.from_environment({"SDXL_RUNNER_TOKEN": value}).runner_token
        return [token.get_secret_value() for token in given]

    assert tokens("a token with spaces") == ["a token with spaces"]
    assert tokens(f"{KEY}, {KEY[::-1]}") == [KEY, KEY[::-1]]
    for bad in ("", f"{KEY},", f"{KEY},short", f"{KEY}\n{KEY}", "ein Schlüssel für alle"):
        with pytest.raises(ConfigurationError, match=r"SDXL_RUNNER_TOKEN=\(not shown\): every token must have 16"):
            tokens(bad)


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        ("null", ("null",)),
        ("https://app.example.com", ("https://app.example.com",)),
        (" https://App.Example.com/ , http://localhost:5001", ("https://app.example.com", "http://localhost:5001")),
        ("https://a.test:443,http://a.test:80,http://a.test:443", ("https://a.test", "http://a.test", "http://a.test:443")),
        ("http://[::1]:8080", ("http://[::1]:8080",)),
        ("chrome-extension://abcdef,tauri://localhost", ("chrome-extension://abcdef", "tauri://localhost")),
    ],
)  # fmt: skip
def test_origins(value: str, origins: tuple[str, ...]) -> None:
    assert Settings.from_environment({"SDXL_CORS_ORIGINS": value}).cors_origins == origins


@pytest.mark.parametrize(
    "value",
    ["app.example.com", "https://a.test/page", "https://*.example.com", "https://me@a.test", "https://a.test?x", "//a"],
)
def test_what_is_no_origin_is_named(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"SDXL_CORS_ORIGINS=.* is not an origin like https://app.example.com"):
        Settings.from_environment({"SDXL_CORS_ORIGINS": value})
