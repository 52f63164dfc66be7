"""Brings a checkpoint from the model hub, or finds it in huggingface_hub's cache: its own variables say where and how.

(HF_HOME, HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE …)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download

from sdxl.files.own import OWN_FILES

HALVES = "*.fp16*.safetensors"


def parts_of(folder: Path) -> list[str]:
    """The names of a pipeline's parts that it has, by its model_index.json."""
    index = json.loads((folder / "model_index.json").read_text())
    return [name for name, value in index.items() if isinstance(value, list) and value[0] is not None]


def fetch_files(repository: str, revision: str | None, *, patterns: Sequence[str], but_not: Sequence[str] = ()) -> Path:
    """The folder of a revision, with at least the files that match one of the patterns."""
    return Path(
        snapshot_download(repository, revision=revision, allow_patterns=list(patterns), ignore_patterns=list(but_not))
    )


def fetch_pipeline(repository: str, revision: str | None, *, halves: bool) -> Path:
    """The folder of a pipeline with the files of its parts; with `halves`, in half precision where it has them so.

    Repositories hold much more: the same weights in other forms and for other programs.
    """
    folder = fetch_files(repository, revision, patterns=("model_index.json", *OWN_FILES))
    parts = parts_of(folder)
    fetch_files(repository, revision, patterns=[f"{name}/*.{kind}" for name in parts for kind in ("json", "txt")])
    models = [name for name in parts if (folder / name / "config.json").is_file()]
    if halves:
        fetch_files(repository, revision, patterns=[f"{name}/{HALVES}" for name in models])
        models = [name for name in models if not any((folder / name).glob(HALVES))]
    plain = [f"{name}/*.safetensors" for name in models]
    if plain:
        fetch_files(repository, revision, patterns=plain, but_not=(f"*/{HALVES}", "*/*.non_ema.safetensors"))
    return folder
