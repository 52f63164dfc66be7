"""The catalog follows its files: what comes, goes and changes, and what is read for that."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sdxl.catalog.watch import Watched
from sdxl.config.settings import ConfigurationError
from tests.sdxl.catalog.shelves import lora, put, settings, start

opened: list[str] | None = None


def _note(event: str, details: tuple[Any, ...]) -> None:
    if event == "open" and opened is not None and isinstance(details[0], str | os.PathLike):
        opened.append(os.fspath(details[0]))


@pytest.fixture(scope="module", autouse=True)
def _noted() -> None:
    sys.addaudithook(_note)  # for good: it cannot be taken away


@contextmanager
def noted(folder: Path) -> Iterator[list[str]]:
    """Which files below a folder are opened, by their names."""
    global opened
    names: list[str] = []
    opened = []
    try:
        yield names
    finally:
        names += sorted({Path(path).name for path in opened if path.startswith(str(folder))})
        opened = None


@pytest.fixture
def watched(files: Path, models: Path) -> Watched:
    """With the model `a`."""
    put(files / "base.safetensors", models / "checkpoints" / "a.safetensors")
    return Watched(settings(models))


def test_models_come_and_go(files: Path, models: Path, watched: Watched) -> None:
    assert not watched.refresh()
    put(files / "base.safetensors", models / "checkpoints" / "b.safetensors")
    put(files / "refiner.safetensors", models / "checkpoints" / "deep" / "c.safetensors")
    with noted(models) as names:
        assert watched.refresh()
    assert names == ["b.safetensors", "c.safetensors"]
    assert list(watched.catalog.models) == ["a", "b", "deep/c"]
    before = watched.catalog
    (models / "checkpoints" / "a.safetensors").unlink()
    with noted(models) as names:
        assert watched.refresh()
    assert names == []
    assert list(watched.catalog.models) == ["b", "deep/c"]
    assert watched.catalog.default == "b"
    assert list(before.models) == ["a", "b", "deep/c"]  # a snapshot


def test_a_file_that_is_replaced(files: Path, models: Path, watched: Watched) -> None:
    path = models / "checkpoints" / "a.safetensors"
    first = watched.catalog.models["a"]
    path.unlink()
    path.write_bytes((files / "base.safetensors").read_bytes()[:-4] + b"\0\0\0\1")
    assert watched.refresh()
    assert watched.catalog.models["a"].fingerprint != first.fingerprint


def test_a_file_that_is_still_being_written(files: Path, models: Path, watched: Watched) -> None:
    whole, path = (files / "base.safetensors").read_bytes(), models / "checkpoints" / "b.safetensors"
    for length in (0, 5, 1_000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert watched.refresh()
        assert list(watched.catalog.models) == ["a"]
        assert list(watched.catalog.faults) == ["checkpoints/b.safetensors"]
        with noted(models) as names:
            assert not watched.refresh()
        assert names == []
    path.write_bytes(whole)
    assert watched.refresh()
    assert list(watched.catalog.models) == ["a", "b"]
    assert not watched.catalog.faults


def test_its_relay_json_counts(models: Path, watched: Watched) -> None:
    (models / "checkpoints" / "a.relay.json").write_text('{"steps": 3}')
    assert watched.refresh()
    assert watched.catalog.faults == {
        "checkpoints/a.safetensors": "a.relay.json: steps: Extra inputs are not permitted"
    }
    (models / "checkpoints" / "a.relay.json").write_text('{"num_inference_steps": 3}')
    assert watched.refresh()
    assert not watched.catalog.faults


def test_a_damaged_catalog_yaml_while_running(models: Path, watched: Watched) -> None:
    file = models / "catalog.yaml"
    file.write_text("models: {a: {title: One}}")
    assert watched.refresh()
    for damaged, said in (
        ("models: [", "catalog.yaml: line 1: "),
        ("models: {b: {title: Two}}", "catalog.yaml: models.b: there is no file b"),
    ):
        file.write_text(damaged)
        assert watched.refresh()
        assert not watched.refresh()
        assert watched.catalog.faults["catalog.yaml"].startswith(said)
        assert watched.catalog.models["a"].defaults == {"about": {"name": "One"}}
    put(models / "checkpoints" / "a.safetensors", models / "checkpoints" / "b.safetensors")
    assert watched.refresh()
    assert not watched.catalog.faults
    assert watched.catalog.models["b"].defaults == {"about": {"name": "Two"}}
    assert not watched.catalog.models["a"].defaults
    file.unlink()
    assert watched.refresh()
    assert not watched.catalog.models["b"].defaults


def test_a_file_that_catalog_yaml_names_goes(files: Path, models: Path, watched: Watched) -> None:
    put(files / "base.safetensors", models / "checkpoints" / "b.safetensors")
    put(files / "refiner.safetensors", models / "checkpoints" / "r.safetensors")
    put(files / "base.safetensors", models / "vae" / "v.safetensors")
    lora(models / "loras" / "l.safetensors")
    text = "{default: b, refiner: r, models: {a: {vae: v, loras: [{name: l}]}, b: {title: B}}}"
    (models / "catalog.yaml").write_text(text)
    assert watched.refresh()
    assert not watched.catalog.faults
    for gone in ("vae/v", "loras/l", "checkpoints/b", "checkpoints/r"):
        (models / f"{gone}.safetensors").unlink()
    put(files / "base.safetensors", models / "checkpoints" / "new.safetensors")
    assert watched.refresh()
    assert list(watched.catalog.models) == ["new"]
    assert (watched.catalog.default, watched.catalog.refiner) == ("b", "r")
    assert watched.catalog.models["new"].refiner == "r"  # and not none, which would make other pictures
    assert watched.catalog.model("r") is None
    assert watched.catalog.missing.keys() == {"a", "b"}
    assert [fault.removeprefix("catalog.yaml: ") for fault in watched.catalog.faults] == [
        "default", "models.a.loras", "models.a.vae", "models.b", "refiner",
    ]  # fmt: skip


def test_the_folder_itself_goes(models: Path, watched: Watched) -> None:
    models.rename(models.with_name("unmounted"))
    assert watched.refresh()
    assert not watched.catalog.models
    assert watched.catalog.faults == {".": "it cannot be read: No such file or directory"}
    models.with_name("unmounted").rename(models)
    assert watched.refresh()
    assert list(watched.catalog.models) == ["a"]


def test_many_files_that_have_not_changed_are_not_opened(files: Path, models: Path) -> None:
    for number in range(100):
        put(files / "base.safetensors", models / "checkpoints" / f"{number:03}.safetensors")
        lora(models / "loras" / f"{number:03}.safetensors")
    with noted(models) as names:
        start(models)
    assert names == ["000.safetensors"]  # one base is enough
    with noted(models) as names:
        watched = Watched(settings(models))
    assert len(names) == 100  # which have the same names in both folders
    with noted(models) as names:
        assert not watched.refresh()
    assert names == []
    os.utime(models / "loras" / "007.safetensors", ns=(0, 0))
    with noted(models) as names:
        assert not watched.refresh()
    assert names == ["007.safetensors"]


def test_threads_may_refresh_at_once(files: Path, models: Path, watched: Watched) -> None:
    put(files / "base.safetensors", models / "checkpoints" / "b.safetensors")
    results: list[bool] = []
    threads = [threading.Thread(target=lambda: results.append(watched.refresh())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 7 + [True]


def test_at_start_a_catalog_yaml_must_be_there(models: Path) -> None:
    file = models / "own.yaml"
    file.write_text("")
    given = settings(models, catalog=str(file))
    file.unlink()
    with pytest.raises(ConfigurationError, match=r"^own\.yaml: it cannot be read: No such file"):
        Watched(given)
