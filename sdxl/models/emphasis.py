"""Chunks of weighted tokens to embeddings, as AUTOMATIC1111 makes them with its "Original" emphasis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import get_module_execution_device
from torch import Tensor

from sdxl.models.chunks import CHUNK_TOKENS, Chunk


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
        tokens = torch.tensor([chunk.tokens for chunk in chunks], device=get_module_execution_device(encoder))
        output = encoder(tokens, output_hidden_states=True)
        if pooled is None and output[0].ndim == 2:
            pooled = output[0][:1]
        hidden = emphasized(output.hidden_states[layer], chunks)
        by_encoder.append(hidden.reshape(1, len(chunks) * CHUNK_TOKENS, -1))
    assert pooled is not None
    return torch.cat(by_encoder, dim=-1), pooled


def emphasized(hidden: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """One encoder's hidden states [chunks, 77, width], each times its token's weight.

    A chunk is then scaled so that its mean is what it was before, where that is possible. A chunk of which all weights
    are 1 stays as it is, to the bit.
    """
    weights = torch.tensor([chunk.weights for chunk in chunks], device=hidden.device)[..., None]
    is_plain = (weights == 1).all(dim=1, keepdim=True)
    if bool(is_plain.all()):
        return hidden
    plain = hidden.float()
    weighted = plain * weights
    scale = plain.mean(dim=(1, 2), keepdim=True) / weighted.mean(dim=(1, 2), keepdim=True)
    scale = torch.where(scale.isfinite(), scale, 1.0)
    return torch.where(is_plain, hidden, (weighted * scale).to(hidden.dtype))
