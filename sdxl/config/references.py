"""What the settings may name as a checkpoint: a folder, one file, a repository of the model hub, or a Bento model.

What it is goes by its form alone, without the network, so that a slip ends the server before anything is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_HUB = re.compile(r"(?P<id>\w[\w.-]*/[\w.-]+)(@(?P<revision>[\w./-]+))?")
_BENTO = re.compile(r"\w[\w.-]*:[\w.-]+")
ALLOWED = (
    "a folder in diffusers' format, a .safetensors file, a hub id like name/model or name/model@revision,"
    " or a Bento model like name:version"
)

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
    elif path.is_file():
        if path.suffix != ".safetensors":
            raise ValueError("only .safetensors files are loaded: others may hold programs")
    elif path.is_absolute() or not (_HUB.fullmatch(text) or _BENTO.fullmatch(text)):
        raise ValueError(f"no checkpoint there; allowed: {ALLOWED}")
    return text


def located(reference: str, sources: Sources) -> Path:
    """The folder or the .safetensors file of a reference. Raises what the sources raise."""
    path = Path(reference)
    if path.exists():
        return path
    on_hub = _HUB.fullmatch(reference)
    return sources.hub(on_hub["id"], on_hub["revision"]) if on_hub else sources.bento(reference)


def name_of(reference: str, stage: str) -> str:
    """What people may call a checkpoint: a hub id or a Bento model as it is, else the folder or the file.

    A folder that is called as its stage is says nothing, so the one around it counts.
    """
    path = Path(reference)
    if not path.exists():
        return reference
    return path.parent.name if path.name == stage else path.name.removesuffix(".safetensors")
