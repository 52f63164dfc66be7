"""Each caller's own options."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from entry.automatic1111.options import MAX_OPTIONS, MAX_OPTIONS_BYTES, CallersOptions
from sdxl.config.settings import Settings
from sdxl.errors import RelayError


@pytest.fixture
def options() -> CallersOptions:
    """Before any stage is there, so that every model's name is taken."""
    fleet: Any = SimpleNamespace(base=SimpleNamespace(offers=[]), default_model=lambda: None)
    return CallersOptions(fleet, Settings.from_environment({"SDXL_API_KEYS": "a-key-for-the-tests"}))


def test_they_are_the_callers_own(options: CallersOptions) -> None:
    options.keep("a", {"sd_model_checkpoint": "x", "samples_format": "jpg", "mine": [1]})
    options.keep("a", {"CLIP_stop_at_last_layers": "3"})
    assert options.of("a").model_dump(exclude_none=True) == {
        "sd_model_checkpoint": "x", "samples_format": "jpeg", "CLIP_stop_at_last_layers": 3, "mine": [1],
    }  # fmt: skip
    assert (options.shown("a")["samples_format"], options.shown("a")["mine"]) == ("jpg", [1])
    assert options.of("b").model_dump(exclude_none=True) == {}
    assert options.shown("b")["samples_format"] == "png"


@pytest.mark.parametrize("nothing", ["", None])
def test_an_empty_value_is_the_default_again(options: CallersOptions, nothing: Any) -> None:
    options.keep("a", {"samples_format": "jpg", "jpeg_quality": 10})
    options.keep("a", {"samples_format": nothing, "jpeg_quality": nothing})
    assert (options.of("a").samples_format, options.shown("a")["jpeg_quality"]) == (None, 90)


def test_a_client_that_sends_all_back_sets_nothing(options: CallersOptions) -> None:
    options.keep("a", options.shown("a"))
    assert options.of("a").model_dump(exclude_none=True) == {}


@pytest.mark.parametrize(
    "many",
    [{str(number): 1 for number in range(MAX_OPTIONS + 1)}, {"a": "x" * MAX_OPTIONS_BYTES}, {"a": float("nan")}],
    ids=["names", "bytes", "no JSON"],
)
def test_they_are_bounded(options: CallersOptions, many: dict[str, Any]) -> None:
    options.keep("a", {"b": 1})
    with pytest.raises(RelayError, match="options: got"):
        options.keep("a", many)
    assert options.shown("a")["b"] == 1
    assert "a" not in options.shown("a")


def test_who_shows_the_same_key_is_the_same_caller(options: CallersOptions) -> None:
    def asked(key: str) -> Any:
        return SimpleNamespace(scope={"headers": [(b"authorization", f"Bearer {key}".encode())]})

    assert options.caller(asked("one")) == options.caller(asked("one")) != options.caller(asked("two"))
    everybody = CallersOptions(SimpleNamespace(), Settings())  # type: ignore[arg-type]
    assert everybody.caller(asked("one")) == everybody.caller(asked("two"))
