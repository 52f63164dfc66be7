"""diffusers' own pictures, kept from run to run: they change only with the libraries, the checkpoint or the request.

Each is a PNG in tests/references, in a folder for its checkpoints, with the key that it was made by as its text. One
that is missing is made and written; `pytest --remake` makes all anew and compares, as `make test-full` does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

Pixels = NDArray[np.uint8]
FOLDER = Path(__file__).parent / "references"
LIBRARIES = ("diffusers", "torch", "transformers")
ROUNDING = 1  # levels, between one machine and another
remakes = False  # the option --remake


def kept(name: str, checkpoints: Path, what: str, make: Callable[[], Pixels], **asked: Any) -> Pixels:
    """The picture [height, width, 3] of a request, from the folder of that name, or else made by `make`."""
    made_by = {
        "what": what,
        "asked": asked,
        "checkpoints": digest_of(checkpoints),
        **{library: version(library) for library in LIBRARIES},
    }
    key = json.dumps(made_by, sort_keys=True, default=_as_text)
    path = FOLDER / name / f"{what}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.png"
    if path.exists():
        with Image.open(path) as picture:
            old = np.asarray(picture)
        if remakes:
            assert np.abs(make().astype(int) - old).max() <= ROUNDING, f"{path} is another picture now"
        return old
    new = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = PngInfo()
    text.add_text("made by", key)
    unfinished = path.with_suffix(f".{os.getpid()}")  # another process may want it, too
    Image.fromarray(new).save(unfinished, "png", optimize=True, pnginfo=text)
    unfinished.rename(path)
    return new


@cache
def digest_of(checkpoints: Path) -> str:
    """Of all that diffusers reads there: what is only for this project, and the LoRAs beside it, do not count."""
    digest = hashlib.sha256()
    for path in sorted(checkpoints.rglob("*")):
        if (
            path.suffix in (".safetensors", ".json", ".txt")
            and path.name != "relay.json"
            and path.parent.name != "loras"
        ):
            digest.update(f"{path.relative_to(checkpoints)} {path.stat().st_size} ".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _as_text(value: object) -> str:
    """Of what is not JSON: a picture or a mask, by its digest."""
    assert isinstance(value, Image.Image)
    return hashlib.sha256(value.mode.encode() + value.tobytes()).hexdigest()
