from __future__ import annotations

from pathlib import Path

import pytest

from sdxl.config import MINI, ConfigurationError, Settings


def test_without_variables_the_mini_checkpoint_is_served() -> None:
    settings = Settings.from_environment({"PATH": "/bin"})
    assert (settings.base, settings.refiner) == (str(MINI / "base"), str(MINI / "refiner"))


def test_variables_are_read() -> None:
    settings = Settings.from_environment(
        {"SDXL_MAX_ROWS": "4", "SDXL_BASE": str(MINI / "base"), "SDXL_TIMEOUT_S": "2.5"}
    )
    assert (settings.max_rows, settings.timeout_s) == (4, 2.5)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SDXL_MAXROWS", "4", "SDXL_MAXROWS is not a setting; there are SDXL_API_KEYS, SDXL_BASE, "),
        ("SDXL_MAX_ROWS", "0", "SDXL_MAX_ROWS=0: Input should be greater than or equal to 1"),
        ("SDXL_MAX_ROWS", "four", "SDXL_MAX_ROWS=four: "),
        ("SDXL_TIMEOUT_S", "-1", "SDXL_TIMEOUT_S=-1: "),
        ("SDXL_DEVICE", "gpu", "SDXL_DEVICE=gpu: "),
        ("SDXL_DTYPE", "float8", "SDXL_DTYPE=float8: "),
        ("SDXL_BASE_URL", "base:3001", "SDXL_BASE_URL=base:3001: Value error, base:3001 is not a URL like http://"),
        ("SDXL_REFINER_URL", "http://a:1, ftp://b", "ftp://b is not a URL"),
        ("SDXL_RUNNER_SILENCE_S", "1", "SDXL_RUNNER_SILENCE_S=1: "),
        ("SDXL_RUNNER_TOKEN", "short secret", "SDXL_RUNNER_TOKEN=(not shown): Value should have at least 16 items"),
        ("SDXL_API_KEYS", "", "SDXL_API_KEYS=(not shown): Value error, every key must have 16 characters at least"),
        ("SDXL_API_KEYS", f"{'k' * 16},short", "SDXL_API_KEYS=(not shown): Value error, every key must have 16"),
        ("SDXL_API_KEYS", f"{'k' * 16},", "SDXL_API_KEYS=(not shown): Value error, every key must have 16"),
        ("SDXL_API_KEYS", "a key with spaces in it", "SDXL_API_KEYS=(not shown): Value error, every key must have"),
        ("SDXL_PRESET", "hyper", "SDXL_PRESET=hyper: Input should be 'turbo', 'lightning' or 'lcm'"),
        ("SDXL_DISTILLED", "name/model", "SDXL_DISTILLED=name/model: Value error, SDXL_PRESET must say"),
        ("SDXL_BASE", "/no/such/folder", "SDXL_BASE=/no/such/folder: Value error, no checkpoint there"),
    ],
)
def test_a_bad_variable_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_environment({name: value})
    assert said in str(raised.value)


def test_a_folder_without_a_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SDXL_REFINER"):
        Settings.from_environment({"SDXL_REFINER": str(tmp_path)})


def test_urls_are_a_list() -> None:
    settings = Settings.from_environment(
        {"SDXL_BASE_URL": "http://a:3001/, https://b.test/base", "SDXL_REFINER_URL": ""}
    )
    assert settings.base_url == ("http://a:3001", "https://b.test/base")
    assert not settings.refiner_url


def test_the_token_is_not_shown() -> None:
    settings = Settings.from_environment({"SDXL_RUNNER_TOKEN": "a secret of 24 letters.."})
    assert "secret" not in f"{settings} {settings!r}"


def test_keys_are_a_list_and_not_shown() -> None:
    settings = Settings.from_environment({"SDXL_API_KEYS": "a-secret-of-19-signs, another-secret:of-more"})
    assert [key.get_secret_value() for key in settings.api_keys] == ["a-secret-of-19-signs", "another-secret:of-more"]
    assert "secret-of" not in f"{settings} {settings!r}"
    assert Settings.from_environment({}).api_keys == ()
