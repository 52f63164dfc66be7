"""Paths as clients and proxies write them."""

from __future__ import annotations

import pytest

from entry.http.paths import no_such_path, tidied
from tests.asgi import scope_of

KNOWN = ("/generate", "/generate/submit", "/v1/images/generations", "/v1/models", "/sdapi/v1/txt2img")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/generate", "/generate"),
        ("//generate", "/generate"),
        ("/generate/", "/generate"),
        ("///generate///", "/generate"),
        ("/v1//images///generations/", "/v1/images/generations"),
        ("/", "/"),
        ("//", "/"),
        ("/ui", "/ui"),
        ("/ui/", "/ui/"),
        ("//ui/", "/ui/"),
        ("/docs/", "/docs/"),
        ("/health", "/readyz"),
        ("//health/", "/readyz"),
    ],
)
def test_what_is_meant(path: str, meant: str) -> None:
    scope = scope_of(path, "POST")
    assert tidied(scope)["path"] == meant
    assert scope["path"] == path, "the log shows what came"


@pytest.mark.parametrize(
    ("method", "read"), [("HEAD", "GET"), ("GET", "GET"), ("POST", "POST"), ("OPTIONS", "OPTIONS")]
)
def test_head_is_get(method: str, read: str) -> None:
    assert tidied(scope_of("/v1/models", method))["method"] == read


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/images/generations", "/v1/images/generations"),
        ("/v1/v1/images/generations", "/v1/images/generations"),
        ("/openai/v1/images/generations", "/v1/images/generations"),
        ("/models", "/v1/models"),
        ("/api/generate", "/generate"),
        ("/sdxl/generate/submit", "/generate/submit"),
        ("/txt2img", "/sdapi/v1/txt2img"),
    ],
)
def test_a_wrong_base_url_is_explained(path: str, meant: str) -> None:
    error = no_such_path(path, KNOWN)
    assert (error.status, error.code) == (404, "unknown_path")
    assert error.message == f"there is no {path} here; did you mean {meant}?"


@pytest.mark.parametrize("path", ["/nothing", "/v1/chat/completions", "/sdapi/v1/upscalers", "/", "/generatex"])
def test_nothing_is_guessed(path: str) -> None:
    assert no_such_path(path, KNOWN).message == f"there is no {path} here"


def test_a_long_path_is_not_sent_back() -> None:
    assert len(no_such_path("/" + "x" * 5_000, KNOWN).message) < 300
