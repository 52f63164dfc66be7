"""What a .safetensors file says of itself, without its weights: names, shapes and types of its tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from sdxl.config.references import UnusableFile

# What people have in place of weights, by how the file begins.
IN_PLACE_OF_WEIGHTS = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"<", "it is a web page, not weights: the download was answered by one, perhaps because it needs a login"),
    (b"{", "it is a text in JSON, not weights: the download was answered by one, perhaps because it needs a login"),
    (b"PK", "it holds pickled weights, which may hold programs; convert it to safetensors"),
    (b"\x80", "it holds pickled weights, which may hold programs; convert it to safetensors"),
    (b"GGUF", "it is in GGUF format; a .safetensors file is needed"),
)


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file, as its header has it."""

    dtype: str
    """In safetensors' words: F32, F16, BF16, F8_E4M3, I64 and so on."""
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Header:
    """The tensors of one file by their names, and its metadata."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]

    @property
    def numbers(self) -> int:
        """How many there are in all tensors."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    def under(self, prefix: str) -> Iterator[str]:
        """The names that begin so."""
        return (name for name in self.tensors if name.startswith(prefix))

    def has(self, prefix: str) -> bool:
        """Whether a name begins so."""
        return next(self.under(prefix), None) is not None


def read_header(path: Path) -> Header:
    """The header of a whole file. Raises UnusableFile for anything else: that it is whole is checked by its length."""
    try:
        start = _start(path)
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            tensors = {name: Tensor(each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}
            return Header(tensors, file.metadata() or {})
    except OSError as error:
        raise UnusableFile(f"it cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise UnusableFile(_told(path, start, str(error))) from error


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)


def _told(path: Path, start: bytes, error: str) -> str:
    if not start:
        return "it is empty; download it again"
    if start[8:9] == b"{":  # a safetensors file's header, after its length
        if "JSON" in error:
            return f"its header is damaged ({error.rpartition(': ')[2]:.80}); download it again"
        return f"it is cut off or damaged: its {path.stat().st_size:,} bytes are not what it says; download it again"
    kinds = (told for begin, told in IN_PLACE_OF_WEIGHTS if start.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(begin))
    return next(kinds, "it is no safetensors file, whatever its name says; download it again")
