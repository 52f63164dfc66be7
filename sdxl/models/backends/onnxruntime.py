"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime
import torch
from torch import Tensor


def load(path: Path, threads: int) -> Session:
    """See `Backend`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # it would keep a plan of the memory for every shape that ever came
    # Each model has its own threads. Once its call ends, they would spin for a while on the cores that the rest needs.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return Session(onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]))


class Session:
    """See `Run`. A call that is to end early ends after the operator that it is at."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._names = [given.name for given in session.get_inputs()]
        # Large pictures would leave their memory with the session for good. This is as fast, at all sizes.
        self._options = onnxruntime.RunOptions()
        self._options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Nothing is copied: inputs are shared, and outputs are fresh memory in every call."""
        given = {name: tensor.contiguous().numpy() for name, tensor in zip(self._names, inputs, strict=True)}
        return [torch.from_numpy(result) for result in self._session.run(None, given, self._options)]

    def end_early(self, is_wanted: bool) -> None:
        """See `Run`."""
        self._options.terminate = is_wanted
