"""Models that leave their device and come back are the same to the bit, and take memory where they say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from sdxl.models.host_copy import HostCopy, Parked

SIZE = 4 * (64 + 8)  # bytes of a layer


def layer(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(8, 8)


def owner(*parts: nn.Module) -> Any:
    return SimpleNamespace(pipeline=SimpleNamespace(components=dict(enumerate(parts))))


def test_it_comes_back_as_it_was() -> None:
    model = layer(1)
    x = torch.randn(3, 8)
    before, weights = model(x), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copy = HostCopy(model, pinned=False)
    assert copy.size_bytes == SIZE
    copy.leave()
    on_host = [tensor.data_ptr() for tensor in model.parameters()]
    copy.bring("cpu")
    assert [tensor.data_ptr() for tensor in model.parameters()] != on_host, "a copy of its own"
    assert torch.equal(model(x), before)
    with torch.no_grad():
        model.weight.zero_()  # type: ignore[operator]
    copy.leave()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())


def test_what_others_use_stays_on_the_device() -> None:
    shared, first, second = layer(1), layer(2), layer(3)
    parked = Parked[Any](10 * SIZE, "cpu")
    for unet in (first, second):
        parked.hold(owner(unet, shared))
    there = shared.weight.data_ptr()  # type: ignore[operator]
    parked.park("first", owner(first, shared))
    assert shared.weight.data_ptr() == there  # type: ignore[operator]
    parked.park("second", owner(second, shared))
    assert shared.weight.data_ptr() != there, "nobody uses it now"  # type: ignore[operator]
    back = parked.bring("first")
    assert back is not None
    assert back.pipeline.components[0] is first
    assert "first" not in parked
    assert "second" in parked


def test_the_least_recently_used_goes_for_good() -> None:
    parked = Parked[Any](2 * SIZE, "cpu")
    for number in range(3):
        one = owner(layer(number))
        parked.hold(one)
        parked.park(number, one)
    assert [number in parked for number in range(3)] == [False, True, True]
