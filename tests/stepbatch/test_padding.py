import pytest
import torch
from torch import Tensor

from stepbatch.denoising import Conditioning
from stepbatch.padding import PaddedUNet
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, make_engine, make_job


def inputs(rows: int) -> tuple[Tensor, Tensor, Conditioning]:
    generator = torch.Generator().manual_seed(rows)
    conditioning = Conditioning(
        embeddings=torch.randn(rows, 3, 5, generator=generator),
        pooled=torch.randn(rows, 2, generator=generator),
        time_ids=torch.ones(rows, 6),
    )
    return torch.randn(rows, 4, 2, 2, generator=generator), torch.arange(rows), conditioning


@pytest.mark.parametrize("rows", [1, 3, 5])
def test_the_unet_sees_always_the_same_number_of_rows(rows: int) -> None:
    unet = FalseUNet()
    got = PaddedUNet(unet, (5,))(*inputs(rows))
    assert unet.rows == [5]
    assert torch.equal(got, FalseUNet()(*inputs(rows)))


@pytest.mark.parametrize(("rows", "seen"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8)])
def test_of_several_counts_the_unet_sees_the_next(rows: int, seen: int) -> None:
    unet = FalseUNet()
    got = PaddedUNet(unet, (8, 1, 2, 4))(*inputs(rows))
    assert unet.rows == [seen]
    assert torch.equal(got, FalseUNet()(*inputs(rows)))


def test_more_rows_than_that_are_an_error() -> None:
    with pytest.raises(ValueError, match="6 rows"):
        PaddedUNet(FalseUNet(), (5,))(*inputs(6))


def test_an_engine_pads_every_tick() -> None:
    unet = FalseUNet()
    with make_engine(PaddedUNet(unet, (7,)), max_rows=7) as engine:
        jobs = [make_job(seed=seed, steps=2 + seed, rows=1 + seed % 2) for seed in range(4)]
        for job in jobs:
            engine.submit(job)
        for job in jobs:
            job.future.result(TIMEOUT_S)
    assert set(unet.rows) == {7}
