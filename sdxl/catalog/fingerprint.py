"""What tells one model's files from another's, without reading all of them: a fingerprint."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from sdxl.files.own import own_files

SAMPLES, SAMPLE_BYTES = 64, 16_384
SMALL_FILES = ("*.json", "*.txt")  # of a folder: what its models are, and their tokenizers' words


def files_of(path: Path) -> dict[str, Path]:
    """What belongs to one thing, which is a file or a folder, by names that are the same on every machine."""
    if not path.is_dir():
        return {"weights": path, **own_files(path)}
    found = (file for pattern in (*SMALL_FILES, "*.safetensors") for file in path.rglob(pattern))
    return {file.relative_to(path).as_posix(): file for file in found}


def fingerprint(files: Mapping[str, Path]) -> str:
    """Hex SHA-256 of the files' names and sizes, small files' bytes, and headers and samples of the weights.

    Two files that were trained differ in nearly all of their numbers, so that samples tell them apart.
    """
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"{name}\0{size}\0".encode(errors="surrogateescape"))
            if path.suffix != ".safetensors":
                digest.update(file.read())
                continue
            for start, length in _parts(int.from_bytes(file.read(8), "little") + 8, size):
                digest.update(os.pread(file.fileno(), length, start))
    return digest.hexdigest()


def _parts(header: int, size: int) -> Iterator[tuple[int, int]]:
    """The header, and samples spread evenly over the rest, as (start, length) in bytes; all of it if that is less."""
    if size <= header + SAMPLES * SAMPLE_BYTES:
        yield 0, size
        return
    yield 0, header
    last = size - SAMPLE_BYTES
    yield from ((header + (last - header) * index // (SAMPLES - 1), SAMPLE_BYTES) for index in range(SAMPLES))


def together(*parts: str | None) -> str:
    """One fingerprint of several things; of one alone, its own."""
    if not any(parts[1:]):
        return str(parts[0])
    return hashlib.sha256("\n".join(part or "" for part in parts).encode()).hexdigest()
