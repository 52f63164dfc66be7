"""Attention in parts, of which a call that nobody waits for computes no more; the rest is in test_backends.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor2_0

from sdxl.config.settings import Settings
from sdxl.models.backends.attention import QUERIES
from sdxl.models.interrupt import Interruptible, NobodyWaits
from tests.loading import load_stage


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_stage("refiner", Settings(backend="torch")).pipeline


@pytest.mark.parametrize("tokens", [256, QUERIES, QUERIES + 64, 2 * QUERIES + 1_000])
@torch.inference_mode()
def test_the_same_bits_as_diffusers(pipeline: Any, tokens: int) -> None:
    block = pipeline.unet.down_blocks[0].attentions[0].transformer_blocks[0]
    hidden = torch.randn(2, tokens, block.attn1.to_q.in_features, generator=torch.Generator().manual_seed(tokens))
    own, diffusers = _both(pipeline, lambda: block.attn1(hidden))
    assert torch.equal(own, diffusers)


@torch.inference_mode()
def test_the_same_bits_in_a_vae(pipeline: Any) -> None:
    latents = torch.randn(1, 4, 72, 64, generator=torch.Generator().manual_seed(1))
    own, diffusers = _both(pipeline, lambda: pipeline.vae.decode(latents, return_dict=False)[0])
    assert torch.equal(own, diffusers)


@torch.inference_mode()
def test_it_ends_between_parts(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Interruptible()
    told.add(pipeline)
    parts: list[int] = []

    def attend(query: torch.Tensor, *_: Any) -> torch.Tensor:
        parts.append(query.shape[1])
        told.end_early(len(parts) == 2)
        return query

    monkeypatch.setattr("sdxl.models.interrupt.attend", attend)
    attention = pipeline.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1
    with pytest.raises(NobodyWaits):
        attention(torch.zeros(1, 3 * QUERIES, attention.to_q.in_features))
    assert parts == [QUERIES] * 2


def _both(pipeline: Any, call: Any) -> list[torch.Tensor]:
    Interruptible().add(pipeline)
    own = call()
    for model in (pipeline.unet, pipeline.vae):
        model.set_attn_processor(AttnProcessor2_0())
    return [own, call()]
