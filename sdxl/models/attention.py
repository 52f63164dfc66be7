"""Which of torch's ways to compute attention is the fastest: they differ by GPU, release and dtype."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

CANDIDATES = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
SHAPE = (2, 10, 4096, 64)  # rows, heads, pixels, width: the largest attention of SDXL's base at 1024 x 1024
REPEATS = 10

Timer = Callable[[SDPBackend, Tensor], float]


def fastest_first(query: Tensor, time_ms: Timer) -> list[SDPBackend]:
    """Those that can attend among `query` [rows, heads, pixels, width], by the time that `time_ms` gives for each.

    A RuntimeError of `time_ms` says that one cannot.
    """
    times: dict[SDPBackend, float] = {}
    for backend in CANDIDATES:
        try:
            times[backend] = time_ms(backend, query)
        except RuntimeError:  # not for this GPU or dtype
            continue
    return sorted(times, key=times.__getitem__)


def time_on_gpu(backend: SDPBackend, query: Tensor) -> float:
    """Milliseconds of an attention among `query` [rows, heads, pixels, width]. Raises RuntimeError if it cannot."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    with sdpa_kernel(backend):
        scaled_dot_product_attention(query, query, query)
        begin.record()
        for _ in range(REPEATS):
            scaled_dot_product_attention(query, query, query)
        end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / REPEATS
