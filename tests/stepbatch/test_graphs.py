"""The bookkeeping around CUDA graphs, with false graphs: what a real one does needs a GPU.

Like a real graph, a false one reads where it read when it was recorded, and writes where it wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from stepbatch.denoising import Conditioning
from stepbatch.graphs import WARM_UPS, GraphedUNet
from tests.stepbatch.fakes import FalseUNet


class FalseGraph:
    recording: FalseGraph | None = None

    def __init__(self) -> None:
        self.work: Callable[[], object] = lambda: None
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        self.work()

    def pool(self) -> str:
        return "the pool"


class RecordedUNet(FalseUNet):
    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        output = super().__call__(latents, timesteps, conditioning)
        if FalseGraph.recording is not None:
            compute = super().__call__
            FalseGraph.recording.work = lambda: output.copy_(compute(latents, timesteps, conditioning))
        return output


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Puts false graphs in the place of CUDA's; the pools that recordings were given."""
    given: list[object] = []

    @contextmanager
    def graph(recorded: FalseGraph, pool: object) -> Iterator[None]:
        given.append(pool)
        FalseGraph.recording = recorded
        yield
        FalseGraph.recording = None

    stream = SimpleNamespace(wait_stream=lambda _: None)
    false_cuda: dict[str, Any] = {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda _: nullcontext(),
        "CUDAGraph": FalseGraph,
        "graph": graph,
    }
    for name, value in false_cuda.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return given


def inputs(rows: int, seed: int, side: int = 4) -> tuple[Tensor, Tensor, Conditioning]:
    generator = torch.Generator().manual_seed(seed)
    conditioning = Conditioning(
        embeddings=torch.randn(rows, 3, 5, generator=generator),
        pooled=torch.randn(rows, 2, generator=generator),
        time_ids=torch.randn(rows, 6, generator=generator),
    )
    return torch.randn(rows, 4, side, side, generator=generator), torch.rand(rows, generator=generator), conditioning


def test_each_replay_sees_its_own_inputs_and_keeps_no_result(pools: list[object]) -> None:
    unet = RecordedUNet()
    graphed = GraphedUNet(unet)
    given = [inputs(2, seed) for seed in range(3)]
    results = [graphed(*each) for each in given]  # all are there together: none is overwritten by the next
    for each, result in zip(given, results, strict=True):
        assert torch.equal(result, FalseUNet()(*each))
    assert len(pools) == 1
    assert len(unet.calls) == WARM_UPS + 1 + len(given)


def test_the_callers_tensors_are_not_written_to(pools: list[object]) -> None:
    graphed = GraphedUNet(RecordedUNet())
    first, second = inputs(1, 1), inputs(1, 2)
    before = first[0].clone(), first[2].embeddings.clone()
    graphed(*first)
    graphed(*second)
    assert torch.equal(first[0], before[0])
    assert torch.equal(first[2].embeddings, before[1])
    assert pools == [None]


def test_there_is_one_graph_for_each_shape_and_one_pool_for_all(pools: list[object]) -> None:
    graphed = GraphedUNet(RecordedUNet())
    shapes = [(1, 4), (2, 4), (2, 8), (1, 4), (2, 8)]
    for seed, (rows, side) in enumerate(shapes):
        each = inputs(rows, seed, side)
        assert torch.equal(graphed(*each), FalseUNet()(*each))
    assert pools == [None, "the pool", "the pool"]
