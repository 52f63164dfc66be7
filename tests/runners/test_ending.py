"""A stage that cannot be loaded ends the server; the ends of real servers are in tests/service/test_start.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from runners import ending
from runners.ending import loading
from sdxl.config import ending as saying
from sdxl.config.settings import ConfigurationError, Settings


class EndedError(Exception):
    """In place of the process's end."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    def end(reason: object) -> NoReturn:
        raise EndedError(str(reason))

    monkeypatch.setattr(ending, "_end_server", end)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    yield tmp_path
    signal.signal(signal.SIGTERM, before)


def test_what_is_loaded_leaves_nothing_behind(folder: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with loading("base", Settings()):
        assert [*folder.iterdir()]
        assert signal.getsignal(signal.SIGTERM) is not before
    assert not [*folder.iterdir()]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ConfigurationError("SDXL_VAE=x: it is empty"), "SDXL_VAE=x: it is empty"),
        (MemoryError(), "SDXL_BASE=a/b: not enough memory to load it (MemoryError)"),
        (ZeroDivisionError("by\nzero"), "SDXL_BASE=a/b: it cannot be loaded: ZeroDivisionError: by zero"),
    ],
)
def test_any_error_ends_the_server(error: Exception, said: str) -> None:
    settings = Settings.model_validate({"base": "a/b"})
    with pytest.raises(EndedError) as raised, loading("base", settings):
        raise error
    assert str(raised.value) == said


def test_a_process_that_was_killed_before(folder: Path) -> None:
    """Of the same supervisor; others may load the same stage."""
    (folder / f"base-of-{os.getppid() + 1}.loading").touch()
    (folder / f"refiner-of-{os.getppid()}.loading").touch()
    with loading("base", Settings()):
        pass
    (folder / f"base-of-{os.getppid()}.loading").touch()
    with pytest.raises(EndedError, match="the process that loaded it was killed"), loading("base", Settings()):
        pass


def test_kubernetes_gets_the_line_where_it_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(saying, "TERMINATION_LOG", tmp_path / "termination-log")
    saying.say_why("SDXL_BASE=x: it is empty")
    assert not (tmp_path / "termination-log").exists()
    (tmp_path / "termination-log").write_text("something longer that was there before it, of another end")
    saying.say_why("SDXL_BASE=x: it is empty")
    assert (tmp_path / "termination-log").read_text() == "sdxl-relay: SDXL_BASE=x: it is empty"
    assert capsys.readouterr().err == 2 * "sdxl-relay: SDXL_BASE=x: it is empty\n"
