"""The mini's UNets with contexts of unlike length in one call: each row, and each attention layer, as alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from sdxl.models.unet import unet_of
from stepbatch.denoising import Conditioning
from stepbatch.tick import stacked
from tests.conftest import MINI

CHUNKS = (1, 2, 3, 1)


@torch.inference_mode()
@pytest.mark.parametrize("stage", ["base", "refiner"])
def test_each_row_and_each_attention_layer_as_alone(stage: str) -> None:
    model = UNet2DConditionModel.from_pretrained(MINI / stage / "unet").eval()
    config, generator = model.config, torch.Generator().manual_seed(3)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    pooled, ids = 128, 6 if stage == "base" else 5
    parts = [
        Conditioning(
            embeddings=drawn(1, 77 * chunks, config.cross_attention_dim),
            pooled=drawn(1, pooled),
            time_ids=100 * drawn(1, ids).abs(),
        )
        for chunks in CHUNKS
    ]
    latents, timesteps = drawn(len(parts), 4, 8, 8), torch.tensor([900, 500, 100, 10])
    attended: list[Tensor] = []

    def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        attended.append(output)

    for name, module in model.named_modules():
        if name.endswith("attn2"):
            module.register_forward_hook(note)

    def call(rows: slice, told: Conditioning) -> tuple[Tensor, list[Tensor]]:
        attended.clear()
        return unet_of(model)(latents[rows], timesteps[rows], told), list(attended)

    together, of_layers = call(slice(None), stacked(parts))
    assert of_layers
    for row, part in enumerate(parts):
        alone, of_layers_alone = call(slice(row, row + 1), part)
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-4)
        for layer, layer_alone in zip(of_layers, of_layers_alone, strict=True):
            torch.testing.assert_close(layer[row : row + 1], layer_alone, rtol=0, atol=1e-4)
