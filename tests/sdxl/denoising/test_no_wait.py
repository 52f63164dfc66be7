"""A tick does not wait for the GPU: shown on torch's device "meta", whose tensors have no numbers to read.

What sends the host's numbers to the device makes it wait, too, unless told not to; and so does what asks the device
whether a matrix could be inverted. Both are looked for among the operations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sdxl.config.settings import MINI
from sdxl.denoising.sampler import base_steps, make_sampler
from sdxl.request.samplers import SamplerName
from stepbatch.denoising import Conditioning, Denoising
from stepbatch.failure import Failure
from stepbatch.tick import tick

CONFIG = json.loads((MINI / "base/scheduler/scheduler_config.json").read_text())
# diffusers' own steps of these wait: most send noise that the host has drawn, unipc solves a small system.
WAIT: set[SamplerName] = {
    "euler_ancestral", "ddpm", "dpm2_a", "dpmpp_2m_sde", "dpmpp_3m_sde", "dpmpp_sde", "lcm", "unipc",
}  # fmt: skip


class Waits(TorchDispatchMode):
    """Collects the names of the operations for which the host would wait."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        result = func(*args, **options)
        devices = {value.device.type for value in (*args, result) if isinstance(value, Tensor)}
        is_copy = func.overloadpacket.__name__ in ("_to_copy", "copy_", "copy")
        if is_copy and devices == {"cpu", "meta"} and not options.get("non_blocking"):
            self.found.add("copy")
        if "linalg" in func.overloadpacket.__name__ and "meta" in devices:
            self.found.add("linalg")
        return result


def unet(latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
    assert latents.device == timesteps.device == conditioning.pooled.device
    return torch.empty_like(latents)


def waits(name: SamplerName, prediction: str) -> set[str]:
    sampler = make_sampler(name, {**CONFIG, "prediction_type": prediction})
    timesteps = base_steps(sampler, 6, None)
    assert timesteps.device.type == "cpu"
    with torch.device("meta"):
        state = Denoising(
            latents=torch.empty(1, 4, 16, 16),
            sampler=sampler,
            timesteps=timesteps,
            conditioning=Conditioning(
                embeddings=torch.empty(2, 77, 8), pooled=torch.empty(2, 8), time_ids=torch.empty(2, 6)
            ),
            guidance_scale=5.0,
            guidance_rescale=0.7,
            step_options={"generator": torch.Generator()} if "generator" in signature(sampler.step).parameters else {},
        )
    with Waits() as mode:
        while not state.is_finished:
            (latents,) = tick(unet, [state])
            if isinstance(latents, Failure):
                raise latents.error
            assert latents.device.type == "meta"
            state.advance(latents)
    return mode.found


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", get_args(SamplerName))
def test_a_tick_waits_for_nothing(name: SamplerName, prediction: str) -> None:
    assert bool(waits(name, prediction)) == (name in WAIT)


def test_what_reads_the_devices_numbers_fails_here() -> None:
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.empty(1, device="meta").item()
