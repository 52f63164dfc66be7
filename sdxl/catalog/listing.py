"""Which files are in a folder of models, by the names of its folders and files alone: nothing is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sdxl.catalog.names import cleaned
from sdxl.config.references import UnusableFile

Kind = Literal["models", "loras", "vaes", "embeddings"]
# ComfyUI's names and AUTOMATIC1111's, in lower case.
FOLDERS: Mapping[str, Kind] = {
    "checkpoints": "models", "stable-diffusion": "models", "loras": "loras", "lora": "loras", "lycoris": "loras",
    "vae": "vaes", "embeddings": "embeddings",
}  # fmt: skip
WHOLE: Mapping[Kind, str] = {"models": "model_index.json", "vaes": "config.json"}  # what a folder has that is one thing
SUFFIX = ".safetensors"
NOT_LOADED = {
    **dict.fromkeys((".ckpt", ".pt", ".pth", ".bin"), "others may hold programs; convert it to safetensors"),
    ".gguf": "it is in GGUF format",
}


@dataclass(frozen=True)
class Listing:
    """What is there, by its names."""

    root: Path | None = None
    found: Mapping[Kind, dict[str, Path]] = field(
        default_factory=lambda: {"models": {}, "loras": {}, "vaes": {}, "embeddings": {}}
    )
    faults: dict[str, str] = field(default_factory=dict)

    def shown(self, path: Path) -> str:
        """A path as people know it: below the folder of models."""
        return Path(os.path.relpath(path, self.root)).as_posix() if self.root else str(path)


def listed(root: Path) -> Listing:
    """Raises nothing: what cannot be read is among the faults."""
    listing = Listing(root)
    for kind, folder in _folders(root, listing.faults):
        for path in _walked(folder, kind, frozenset(), listing.faults, root):
            _add(listing, kind, path, folder)
    return listing


def _folders(root: Path, faults: dict[str, str]) -> Iterator[tuple[Kind, Path]]:
    """Those of a known name in the folder, below its `models/`, and beside itself if it is AUTOMATIC1111's `models`."""
    places = [root, *(path for path in _children(root, faults, root) if path.name.lower() == "models")]
    inner = [(FOLDERS.get(path.name.lower()), path) for place in places for path in _children(place, faults, root)]
    yield from ((kind, path) for kind, path in inner if kind and path.is_dir())
    here = root.resolve()
    if here.name.lower() == "models" and any(path.name.lower() == "stable-diffusion" for _, path in inner):
        beside = here.parent / "embeddings"
        if beside.is_dir():
            yield "embeddings", beside


def _children(folder: Path, faults: dict[str, str], root: Path) -> list[Path]:
    """Without hidden ones, in the order of their names."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        faults[os.path.relpath(folder, root)] = f"it cannot be read: {error.strerror}"
        return []


def _walked(folder: Path, kind: Kind, above: frozenset[str], faults: dict[str, str], root: Path) -> Iterator[Path]:
    """Weights, and folders that are one thing. Links are followed unless they lead to a folder around them."""
    real = os.path.realpath(folder)
    if real in above:
        return
    for path in _children(folder, faults, root):
        if path.is_dir():
            if kind in WHOLE and (path / WHOLE[kind]).is_file():
                yield path
            else:
                yield from _walked(path, kind, above | {real}, faults, root)
        elif path.suffix == SUFFIX or path.suffix.lower() in NOT_LOADED:
            yield path


def _add(listing: Listing, kind: Kind, path: Path, folder: Path) -> None:
    shown, found = listing.shown(path), listing.found[kind]
    if path.suffix.lower() in NOT_LOADED and not path.is_dir():
        listing.faults[shown] = f"only .safetensors files are loaded: {NOT_LOADED[path.suffix.lower()]}"
        return
    inner = path.relative_to(folder).as_posix()
    try:
        name = cleaned(inner if path.is_dir() else inner.removesuffix(SUFFIX))
    except UnusableFile as error:
        listing.faults[shown] = str(error)
        return
    if name in found:
        listing.faults[shown] = f"{listing.shown(found[name])} has the same name, {name}"
    else:
        found[name] = path
