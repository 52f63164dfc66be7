from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stepbatch.denoising import Conditioning
from stepbatch.shapes import UNetOfShapes
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, make_engine, make_job


def inputs(rows: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Conditioning]:
    generator = torch.Generator().manual_seed(rows)
    conditioning = Conditioning(
        embeddings=torch.randn(rows, 3, 5, generator=generator),
        pooled=torch.randn(rows, 2, generator=generator),
        time_ids=torch.ones(rows, 6),
    )
    return torch.randn(rows, 4, *size, generator=generator), torch.arange(rows), conditioning


@pytest.mark.parametrize(
    ("rows", "size", "fast_rows", "other_rows"),
    [
        (1, (4, 4), [1], []),
        (3, (4, 4), [4], []),
        (4, (4, 8), [4], []),
        (5, (4, 4), [], [5]),  # more rows than compiled
        (1, (8, 4), [], [1]),  # a size that is not compiled
    ],
)
def test_only_known_shapes_are_given_to_the_fast_one(
    rows: int, size: tuple[int, int], fast_rows: list[int], other_rows: list[int]
) -> None:
    fast, other = FalseUNet(), FalseUNet()
    unet = UNetOfShapes(fast, other, counts=(1, 2, 4), sizes=[(4, 4), (4, 8)], tokens=3)
    got = unet(*inputs(rows, size))
    assert (fast.rows, other.rows) == (fast_rows, other_rows)
    assert torch.equal(got, FalseUNet()(*inputs(rows, size)))


def test_the_fast_one_sees_one_dtype_of_timesteps() -> None:
    seen: list[tuple[torch.dtype, list[float]]] = []

    def fast(latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.rows == len(timesteps)
        seen.append((timesteps.dtype, timesteps.tolist()))
        return latents

    unet = UNetOfShapes(fast, FalseUNet(), counts=(2,), sizes=[(4, 4)], tokens=3)
    latents, _, conditioning = inputs(2, (4, 4))
    unet(latents, torch.tensor([981, 961]), conditioning)
    unet(latents, torch.tensor([981.5, 961.25]), conditioning)
    assert seen == [(torch.float32, [981.0, 961.0]), (torch.float32, [981.5, 961.25])]


def test_rows_with_adapters_go_to_the_other() -> None:
    fast, other = FalseUNet(), FalseUNet()
    unet = UNetOfShapes(fast, other, counts=(2,), sizes=[(4, 4)], tokens=3)
    latents, timesteps, conditioning = inputs(2, (4, 4))
    unet(latents, timesteps, replace(conditioning, adapters=((), "a LoRA")))
    unet(latents, timesteps, replace(conditioning, adapters=((), ())))
    assert (fast.rows, other.rows) == ([2], [2])


def test_an_engine_uses_both() -> None:
    fast, other = FalseUNet(), FalseUNet()
    with make_engine(UNetOfShapes(fast, other, counts=(2, 8), sizes=[(8, 8)], tokens=3)) as engine:
        jobs = [make_job(seed=seed, rows=1, size=size) for seed, size in enumerate([(8, 8), (8, 16), (8, 8)])]
        for job in jobs:
            engine.submit(job)
        for job in jobs:
            job.future.result(TIMEOUT_S)
    assert set(fast.rows) == {2}
    assert set(other.rows) == {1}
    assert {call.shape for call in fast.calls} == {(4, 8, 8)}
    assert {call.shape for call in other.calls} == {(4, 8, 16)}
