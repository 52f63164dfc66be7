import time

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from sdxl.models.attention import fastest_first

QUERY = torch.zeros(1, 2, 16, 8)


def test_the_fastest_comes_first_and_what_cannot_run_is_left_out() -> None:
    times = {SDPBackend.MATH: 4.0, SDPBackend.FLASH_ATTENTION: 1.5, SDPBackend.CUDNN_ATTENTION: 1.0}

    def time_ms(backend: SDPBackend, query: Tensor) -> float:
        assert query is QUERY
        if backend not in times:
            raise RuntimeError("no available kernel")
        return times[backend]

    assert fastest_first(QUERY, time_ms) == [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.MATH,
    ]


@pytest.mark.filterwarnings("ignore:.*(attention|kernel|SDPA|sdp).*:UserWarning")
def test_torch_itself_says_what_a_cpu_cannot_run() -> None:
    def time_ms(backend: SDPBackend, query: Tensor) -> float:
        begun = time.perf_counter()
        with sdpa_kernel(backend):
            scaled_dot_product_attention(query, query, query)
        return time.perf_counter() - begun

    found = fastest_first(QUERY, time_ms)
    assert SDPBackend.MATH in found
    assert SDPBackend.CUDNN_ATTENTION not in found
