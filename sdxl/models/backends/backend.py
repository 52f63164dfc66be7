"""What an inference engine besides torch has to offer, and which there are."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor


class Run(Protocol):
    """A model that is loaded."""

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """From its inputs, in their order, to its outputs. These are the caller's to keep."""

    def end_early(self, is_wanted: bool) -> None:
        """From another thread: whether a call under way, and all that begin meanwhile, are to raise, where the backend can do that."""


Load = Callable[[Path, int], Run]
"""Makes an ONNX file's model ready for the CPU, in float32, with so many threads. Afterwards the file is not needed."""


class Backend(Protocol):
    """A module of this folder whose name is the setting's value."""

    load: Load


def backend(name: str) -> Backend:
    """The one of that name; its packages are imported only now."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # by its import, ONNX Runtime would write files into the home folder
    module: Any = import_module(f"sdxl.models.backends.{name}")
    return module
