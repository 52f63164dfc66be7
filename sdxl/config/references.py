"""What the settings may name as a checkpoint: a folder, one file, a repository of the model hub, or a Bento model.

What it is goes by its form alone, without the network, so that a slip ends the server before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_HUB = re.compile(r"(?P<id>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_PICKLED = {".ckpt", ".pt", ".pth", ".bin"}
_BENTO = re.compile(r"\w[\w.-]*:[\w.-]+")
ALLOWED = (
    "a folder in diffusers' format, a .safetensors file, a hub id like name/model or name/model@revision,"
    " or a Bento model like name:version"
)


class UnusableFile(ValueError):
    """What a setting names cannot be loaded. The message says what is wrong and what to do, without the name."""


Fetch = Callable[[str, str | None], Path]  # a hub id and its revision, or none, to a local folder


@dataclass(frozen=True)
class Sources:
    """How what is not at hand is brought here."""

    hub: Fetch
    bento: Callable[[str], Path]


def checked(value: object) -> str:
    """The reference as text. Raises ValueError for what cannot be one."""
    text = str(value)
    path = Path(text)
    if path.is_dir():
        if not any((path / name).is_file() for name in ("model_index.json", "config.json")):
            raise ValueError("no checkpoint there: a folder with a model_index.json is expected")
    elif path.suffix in _PICKLED:
        raise ValueError("only .safetensors files are loaded: others may hold programs; convert it to safetensors")
    elif path.is_file():
        if path.suffix != ".safetensors":
            raise ValueError("only .safetensors files are loaded")
    elif path.is_absolute() or path.suffix == ".safetensors" or not (_HUB.fullmatch(text) or _BENTO.fullmatch(text)):
        raise ValueError(f"no checkpoint there; allowed: {ALLOWED}")
    return text


def located(reference: str, sources: Sources) -> Path:
    """The folder or the .safetensors file of a reference. Raises UnusableFile for what is not there."""
    path = Path(reference)
    if path.exists():
        return path
    on_hub = _HUB.fullmatch(reference)
    if on_hub is None:
        return sources.bento(reference)
    try:
        return sources.hub(on_hub["id"], on_hub["revision"])
    except Exception as error:  # the hub's, the network's, or those of files of its cache
        first, *_ = str(error).splitlines() or [""]
        told = f"{type(error).__name__}: {first.partition('. ')[0]:.150}"
        raise UnusableFile(
            f"there is no such folder here, and the model hub does not give it ({told}); check the path, or the network"
        ) from error


def name_of(reference: str, stage: str) -> str:
    """What people may call a checkpoint: a hub id or a Bento model as it is, else the folder or the file.

    A folder that is called as its stage is says nothing, so the one around it counts.
    """
    path = Path(reference)
    if not path.exists():
        return reference
    return path.parent.name if path.name == stage else path.name.removesuffix(".safetensors")
