"""What is in single files: looked at once, and again when they have changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sdxl.catalog.fingerprint import files_of, fingerprint
from sdxl.config.references import UnusableFile
from sdxl.config.settings import StageName
from sdxl.files.check import check_own_vae, check_stage, one_line
from sdxl.files.header import read_header
from sdxl.files.kinds import check_embedding, check_lora

Expected = Literal["model", "base", "model but its VAE", "base but its VAE", "lora", "vae", "embedding", "weights"]
"""A model is whichever stage's it is; weights are any .safetensors file."""
Stamp = tuple[tuple[str, int, int], ...]
# What LoRAs say of themselves, in Stability AI's model specification and by kohya's scripts.
SAID = {
    "title": ("modelspec.title", "ss_output_name"),
    "trigger": ("modelspec.trigger_phrase",),
    "base_model": ("modelspec.architecture", "ss_base_model_version"),
}


@dataclass(frozen=True, kw_only=True)
class Found:
    """One file or folder, as it was when it was looked at."""

    stage: StageName | None = None
    fingerprint: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    fault: str | None = None


class Looks:
    """Keeps what was found, by path, size and time of change; `before` is what an earlier round kept.

    Without `samples`, there are no fingerprints, and only headers and configurations are read.
    """

    def __init__(self, before: Looks | None = None, *, samples: bool = True) -> None:
        self._samples = samples
        self._before = {} if before is None else before._kept
        self._kept: dict[tuple[Expected, Path], tuple[Stamp, Found]] = {}

    def at(self, path: Path, expected: Expected) -> Found:
        """Raises nothing: what is not as expected has a fault."""
        key = (expected, path)
        if key not in self._kept:
            stamp = _stamp(path)
            kept, found = self._before.get(key, ((), Found()))
            self._kept[key] = (stamp, found if kept == stamp != () else self._look(path, expected))
        return self._kept[key][1]

    def _look(self, path: Path, expected: Expected) -> Found:
        try:
            stage, metadata = _checked(path, expected)
            files = files_of(path)
            return Found(
                stage=stage,
                fingerprint=fingerprint(files) if self._samples else "",
                metadata=metadata,
            )
        except UnusableFile as error:
            return Found(fault=one_line(str(error)))
        except Exception as error:  # libraries raise many kinds for files that they cannot read
            return Found(fault=f"it cannot be read: {type(error).__name__}: {one_line(str(error))}")


def _stamp(path: Path) -> Stamp:
    """Before it is read, so that a change while it is read is seen the next time. () for what is not there."""
    try:
        stats = [(name, file.stat()) for name, file in sorted(files_of(path).items())]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _checked(path: Path, expected: Expected) -> tuple[StageName | None, Mapping[str, str]]:
    match expected:
        case "model" | "model but its VAE":
            return check_stage(None, path, brings_vae=expected != "model"), {}
        case "base" | "base but its VAE":
            return check_stage("base", path, brings_vae=expected != "base"), {}
        case "vae":
            check_own_vae(path)
        case "lora":
            header = read_header(path)
            check_lora(header)
            return None, _said(header.metadata)
        case "embedding":
            check_embedding(read_header(path))
        case "weights":
            if not path.is_dir():
                read_header(path)
    return None, {}


def _said(metadata: Mapping[str, str]) -> dict[str, str]:
    told = {what: next((metadata[key] for key in keys if metadata.get(key)), "") for what, keys in SAID.items()}
    return {what: one_line(text) for what, text in told.items() if text}
