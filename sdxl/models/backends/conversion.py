"""Puts a backend's models in the place of a pipeline's own."""

from __future__ import annotations

import gc
import hashlib
import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from sdxl.config.backends import CPU_ONLY, BackendName, resolved
from sdxl.config.settings import ConfigurationError, Settings
from sdxl.models.backends.backend import Load, Run, backend
from sdxl.models.backends.export import Part, export
from sdxl.models.backends.parts import STAND_INS, parts

EXPORTERS = ("torch", "diffusers", "transformers")  # by whose versions exported files may differ
SOURCES = ("attention.py", "export.py", "parted.py", "parts.py")
MODEL = "model.onnx"

logger = logging.getLogger("bentoml.sdxl_relay")


def give_to_backend(
    pipeline: Any, settings: Settings, device: str, dtype: torch.dtype, digest: str
) -> tuple[BackendName, str]:
    """Lets the backend that is set compute a pipeline's models; nothing to do if that is torch.

    Gives its name, and why it is that one.
    One model after the other, so that of only one there are two at a time. `digest` is the checkpoint's, by which
    files are found again in the cache. Raises ConfigurationError if the device or dtype is not the backend's.
    """
    is_ours = (device, dtype) == ("cpu", torch.float32)
    chosen, why = resolved(settings.backend, is_ours=is_ours and not settings.needs_torch)
    if chosen == "torch":
        return chosen, why
    if not is_ours:
        raise ConfigurationError(f"SDXL_BACKEND={chosen}: {CPU_ONLY}, not for {device} and {dtype}")
    load = backend(chosen).load
    begun = time.perf_counter()
    for name, stand_in in STAND_INS.items():
        model = getattr(pipeline, name)
        if model is not None:
            config = model.config
            del model
            setattr(pipeline, name, stand_in(config, _runs(name, pipeline, load, settings.backend_cache, digest)))
    logger.info("%s has its models after %.1f s", chosen, time.perf_counter() - begun)
    return chosen, why


def _runs(name: str, pipeline: Any, load: Load, cache: Path | None, digest: str) -> list[Run]:
    """The model's parts as the backend has them. The model's own weights are given up before these are read."""
    with tempfile.TemporaryDirectory(prefix="sdxl-relay-") as temporary:
        files = [_exported(part, cache or Path(temporary), digest) for part in parts(name, pipeline)]
        setattr(pipeline, name, None)
        gc.collect()  # models may hold themselves by their hooks
        return [load(file, torch.get_num_threads()) for file in files]


def _exported(part: Part, cache: Path, digest: str) -> Path:
    """The part's file in the cache, where it is only if it is whole."""
    folder = cache / f"{part.name}-{_key(digest)}"
    if not folder.exists():
        with _complete(folder) as unfinished:
            export(part, unfinished / MODEL)
    return folder / MODEL


def _key(digest: str) -> str:
    """Of all that a file is made from."""
    made_by = [f"{package} {version(package)}" for package in EXPORTERS]
    sources = [Path(__file__).with_name(name).read_text() for name in SOURCES]
    return hashlib.sha256("\n".join([digest, *made_by, *sources]).encode()).hexdigest()[:16]


@contextmanager
def _complete(folder: Path) -> Iterator[Path]:
    """A folder that gets its name when the block has filled it; if another process was faster, it goes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="unfinished-", ignore_cleanup_errors=True) as unfinished:
        yield Path(unfinished)
        with suppress(OSError):
            Path(unfinished).rename(folder)
