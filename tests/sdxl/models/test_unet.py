"""Which shapes are compiled; and that what was not is run as it is, in every thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from sdxl.config.settings import Settings
from sdxl.models.unet import compiled_counts, compiled_sizes, stop_compiling


def settings(**variables: str) -> Settings:
    return Settings.from_environment({f"SDXL_{name.upper()}": value for name, value in variables.items()})


@pytest.mark.parametrize(
    ("variables", "counts"),
    [
        ({}, [1, 2, 4, 8, 16]),
        ({"max_rows": "8"}, [1, 2, 4, 8]),
        ({"max_rows": "6"}, [1, 2, 4, 6]),
        ({"max_rows": "1"}, [1]),
        ({"fixed_rows": 4}, [4]),
    ],
)
def test_row_counts_go_up_to_the_most_that_a_tick_may_have(variables: dict[str, str], counts: list[int]) -> None:
    assert compiled_counts(settings(**variables)) == counts


def test_sizes_are_those_asked_for_or_the_native_one() -> None:
    checkpoint: Any = SimpleNamespace(
        pipeline=SimpleNamespace(unet=SimpleNamespace(config=SimpleNamespace(sample_size=128)))
    )
    assert compiled_sizes(checkpoint, settings()) == [(128, 128)]
    assert compiled_sizes(checkpoint, settings(max_pixels=str(512 * 512))) == [(64, 64)]
    asked = settings(compile_sizes="1024x1024, 1216x832")
    assert compiled_sizes(checkpoint, asked) == [(128, 128), (104, 152)]  # (height, width), of the latents


def test_after_the_start_nothing_is_compiled() -> None:
    compiled: list[int] = []

    def backend(graph: Any, inputs: list[Tensor]) -> Any:
        compiled.append(len(inputs[0]))
        return graph.forward

    @torch.compile(backend=backend, dynamic=False)
    def double(numbers: Tensor) -> Tensor:
        return 2 * numbers

    one, two = torch.ones(1), torch.ones(2)
    assert torch.equal(double(one), 2 * one)
    stop_compiling()
    try:
        with ThreadPoolExecutor(1) as pool:
            assert torch.equal(pool.submit(double, two).result(), 2 * two)
            assert torch.equal(pool.submit(double, one).result(), 2 * one)
        assert compiled == [1]
    finally:
        torch.compiler.set_stance("default")
        torch.compiler.reset()
