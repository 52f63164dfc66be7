"""Which files of a pipeline's folder are its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sdxl.files.own import OWN_FILES
from sdxl.models.hub import HALVES, parts_of


def components(folder: Path) -> list[str]:
    """The names of a pipeline's parts that have files, which are also their folders'."""
    parts = parts_of(folder)
    return [name for name in parts if (folder / name).is_dir()] or parts


def files_of(folder: Path, *, is_half: bool = False) -> dict[str, Path]:
    """The files of a pipeline's folder that are loaded, or that say how."""
    weights = [path for name in components(folder) for path in weights_of(folder / name, is_half=is_half)[1]]
    return {**configuration(folder), **_named(folder, weights)}


def weights_of(folder: Path, *, is_half: bool) -> tuple[str | None, list[Path]]:
    """Which of a model's files to load, and diffusers' name of that variant.

    They are those in half precision if that is asked for, or if there are no others.
    """
    halves = sorted(folder.glob(HALVES))
    plain = [path for path in sorted(folder.glob("*.safetensors")) if path not in halves]
    return ("fp16", halves) if halves and (is_half or not plain) else (None, plain)


def configuration(folder: Path) -> dict[str, Path]:
    """The files of a pipeline's folder that say how it is made."""
    parts = components(folder)
    found = [folder / "model_index.json", *(folder / name for name in OWN_FILES)]
    found += [path for name in parts for path in sorted((folder / name).glob("*.json"))]
    return _named(folder, (path for path in found if path.is_file() and ".safetensors." not in path.name))


def _named(folder: Path, paths: Iterable[Path]) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in paths}
