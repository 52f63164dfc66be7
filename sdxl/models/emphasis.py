"""Chunks of weighted tokens to embeddings, as AUTOMATIC1111 makes them with its "Original" emphasis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import get_module_execution_device
from torch import Tensor

from sdxl.models.chunks import Chunk


def encoded(pipeline: Any, prompts: Sequence[Sequence[Chunk]], clip_skip: int | None) -> tuple[Tensor, Tensor]:
    """Embeddings [1, chunks x 77, width] and the first chunk's pooled embedding [1, width], which has no weights.

    `prompts` has equally many chunks for each of the pipeline's text encoders. One chunk without weights gives what
    StableDiffusionXLPipeline.encode_prompt gives, to the bit.
    """
    encoders = [encoder for encoder in (pipeline.text_encoder, pipeline.text_encoder_2) if encoder is not None]
    layer = -2 if clip_skip is None else -(clip_skip + 2)  # SDXL skips the last one itself
    by_encoder = []
    pooled = None
    for encoder, chunks in zip(encoders, prompts, strict=True):
        # One by one: LoRAs are put in for one row, and what a chunk becomes does not depend on its company.
        outputs = [encoder(_as_tensor(chunk, encoder), output_hidden_states=True) for chunk in chunks]
        if pooled is None and outputs[0][0].ndim == 2:
            pooled = outputs[0][0]
        hidden = [emphasized(output.hidden_states[layer], chunk) for output, chunk in zip(outputs, chunks, strict=True)]
        by_encoder.append(torch.cat(hidden, dim=1))
    assert pooled is not None
    return torch.cat(by_encoder, dim=-1), pooled


def emphasized(hidden: Tensor, chunk: Chunk) -> Tensor:
    """One encoder's hidden states [1, 77, width], each times its token's weight.

    They are then scaled so that their mean is what it was before, where that is possible. If all weights are 1, they
    stay as they are, to the bit.
    """
    if set(chunk.weights) == {1.0}:
        return hidden
    plain = hidden.float()
    weighted = plain * torch.tensor(chunk.weights, device=hidden.device)[:, None]
    scale = plain.mean() / weighted.mean()
    return (weighted * torch.where(scale.isfinite(), scale, 1.0)).to(hidden.dtype)


def _as_tensor(chunk: Chunk, encoder: Any) -> Tensor:
    return torch.tensor([chunk.tokens], device=get_module_execution_device(encoder))
