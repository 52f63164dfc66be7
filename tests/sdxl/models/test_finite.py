from __future__ import annotations

import math

import pytest
import torch

from sdxl.models.finite import is_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_one_number_that_is_none(dtype: torch.dtype, value: float) -> None:
    weights = torch.linspace(-60_000, 60_000, 1_000).to(dtype).reshape(10, 100)
    assert is_finite(weights)
    weights[3, 7] = value
    assert not is_finite(weights)


def test_no_numbers() -> None:
    assert is_finite(torch.tensor([]))
    assert not is_finite(torch.tensor(math.nan))
