"""What people have in place of a .safetensors file, and what is said of it."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from pathlib import Path

import pytest

from sdxl.config.references import UnusableFile
from sdxl.files.header import read_header
from tests.conftest import MINI

WEIGHTS = MINI / "base" / "unet" / "diffusion_pytorch_model.safetensors"
WHOLE = WEIGHTS.read_bytes()


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


ONE = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
FILES: dict[str, tuple[bytes, str]] = {
    "cut off in its weights": (WHOLE[: len(WHOLE) // 2], "it is cut off or damaged: its "),
    "cut off in its header": (WHOLE[:1_000], "it is cut off or damaged: its 1,000 bytes"),
    "longer than it says": (WHOLE + b"\0", "it is cut off or damaged"),
    "empty": (b"", "it is empty; download it again"),
    "HTML": (b"\n <!DOCTYPE html><html>Access denied</html>" * 20, "it is a web page"),
    "HTML with a mark": (b"\xef\xbb\xbf<html>Access denied</html>", "it is a web page"),
    "JSON": (b'{"error": "Unauthorized"}', "it is a text in JSON"),
    "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "it is a Git LFS pointer"),
    "GGUF": (b"GGUF\3\0\0\0" + bytes(100), "it is in GGUF format"),
    "old pickle": (b"\x80\x02}q\x00(X\x05\x00\x00\x00state", "it holds pickled weights"),
    "text": (b"to do: download the model", "it is no safetensors file"),
    "zeros": (bytes(1_000), "it is no safetensors file"),
    "no JSON in its header": (with_header(b"{a}"), "its header is damaged"),
    "another type": (
        with_header(json.dumps({"a": {**ONE["a"], "dtype": "F99"}}).encode(), bytes(8)),
        "its header is damaged (unknown variant `F99`",
    ),
    "a length that begins as a web page": (with_header(json.dumps(ONE).encode().ljust(60))[:-8], "it is cut off"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_whole_file(tmp_path: Path, name: str) -> None:
    content, said = FILES[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(UnusableFile) as raised:
        read_header(path)
    assert str(raised.value).startswith(said)


def test_a_zip_of_pickles(tmp_path: Path) -> None:
    """As torch.save writes it, under another name."""
    path = tmp_path / "model.safetensors"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02")
    with pytest.raises(UnusableFile, match="it holds pickled weights, which may hold programs"):
        read_header(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(WHOLE)
    path.chmod(0)
    with pytest.raises(UnusableFile, match="it cannot be read: Permission denied"):
        read_header(path)


@pytest.mark.parametrize("there", ["nothing", "a folder"])
def test_what_is_no_file(tmp_path: Path, there: str) -> None:
    path = tmp_path / "model.safetensors"
    if there == "a folder":
        path.mkdir()
    with pytest.raises(UnusableFile, match="it cannot be read: "):
        read_header(path)


def test_a_whole_file() -> None:
    header = read_header(WEIGHTS)
    assert header.tensors["conv_in.weight"].shape == (64, 4, 3, 3)
    assert header.tensors["conv_in.weight"].dtype in ("F16", "F32")
    assert header.metadata["format"] == "pt"
    assert header.has("down_blocks.")
    assert not header.has("input_blocks.")
