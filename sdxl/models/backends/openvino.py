"""OpenVINO, which compiles a model in its own ways: Intel's cores are its home, but it asks for none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import openvino
import torch
from torch import Tensor


def load(path: Path, threads: int) -> Request:
    """See `Backend`."""
    options = {
        "PERFORMANCE_HINT": "LATENCY",  # all threads for one call: the engine makes one at a time
        "INFERENCE_PRECISION_HINT": "f32",  # cores with bfloat16 would compute in that otherwise
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,  # the other runner of this machine would be pinned to the same cores
    }
    return Request(_core().compile_model(path, "CPU", options).create_infer_request())


@cache
def _core() -> openvino.Core:
    """One for the process.

    The thread that makes it gets a signal stack of OpenVINO's, whose memory goes with the core: the next signal of that
    thread would then end the process.
    """
    return openvino.Core()


class Request:
    """See `Run`."""

    def __init__(self, request: openvino.InferRequest) -> None:
        self._request = request

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Inputs are shared. Outputs are copied, for the next call writes its own to the same memory."""
        results = self._request.infer([tensor.contiguous().numpy() for tensor in inputs], share_inputs=True)
        return [torch.from_numpy(result) for result in results.values()]

    def end_early(self, is_wanted: bool) -> None:
        """Nothing: a call that OpenVINO cancels leaves shapes behind, with which the next one fails."""
