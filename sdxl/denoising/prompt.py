"""From words and sizes to what the UNets are conditioned on, by diffusers' own pipelines."""

from __future__ import annotations

from typing import Any

import torch

from sdxl.errors import invalid_field
from sdxl.handoff.fields import HandOffFields
from sdxl.models.checkpoint import Checkpoint
from sdxl.models.facts import Facts
from sdxl.models.lora import NO_LORAS, Chosen
from sdxl.request.fields import Pair
from sdxl.request.settled import Edit, Generation, Refinement
from stepbatch.denoising import Conditioning

# What the text encoders and the size conditioning are told by. Two rows have the negative prompt first.
Words = Generation | Refinement | Edit | HandOffFields


def base_conditioning(
    checkpoint: Checkpoint, words: Words, size: Pair, rows: int, loras: Chosen = NO_LORAS
) -> Conditioning:
    """The base's conditioning for a picture of `size` (height, width), as StableDiffusionXLPipeline makes it."""
    pipeline = checkpoint.pipeline

    def ids(original: Pair, crop: Pair, target: Pair) -> torch.Tensor:
        made: torch.Tensor = pipeline._get_add_time_ids(
            original,
            crop,
            target,
            dtype=checkpoint.dtype,
            text_encoder_projection_dim=pipeline.text_encoder_2.config.projection_dim,
        )
        return made

    positive = negative = ids(words.original_size or size, words.crops_coords_top_left, words.target_size or size)
    if words.negative_original_size is not None and words.negative_target_size is not None:
        negative = ids(words.negative_original_size, words.negative_crops_coords_top_left, words.negative_target_size)
    return _conditioning(checkpoint, words, loras, rows, positive, negative)


def img2img_conditioning(
    checkpoint: Checkpoint, words: Words, size: Pair, rows: int, loras: Chosen = NO_LORAS
) -> Conditioning:
    """Either stage's conditioning for a change to a picture of `size`, as StableDiffusionXLImg2ImgPipeline makes it."""
    pipeline = checkpoint.img2img
    original, target = words.original_size or size, words.target_size or size
    positive, negative = pipeline._get_add_time_ids(
        original,
        words.crops_coords_top_left,
        target,
        words.aesthetic_score,
        words.negative_aesthetic_score,
        words.negative_original_size or original,
        words.negative_crops_coords_top_left,
        words.negative_target_size or target,
        dtype=checkpoint.dtype,
        text_encoder_projection_dim=pipeline.text_encoder_2.config.projection_dim,
    )
    return _conditioning(checkpoint, words, loras, rows, positive, negative)


def _conditioning(
    checkpoint: Checkpoint,
    words: Words,
    loras: Chosen,
    rows: int,
    positive_ids: torch.Tensor,
    negative_ids: torch.Tensor,
) -> Conditioning:
    embeddings, pooled = checkpoint.prompts.encode(words.prompt, words.prompt_2, words.clip_skip, loras.text)
    adapters = (loras.unet,) * rows if loras.unet else ()
    ids = positive_ids.to(checkpoint.device)
    if rows == 1:
        return Conditioning(embeddings=embeddings, pooled=pooled, time_ids=ids, adapters=adapters)
    negative_embeddings, negative_pooled = _negative(checkpoint, words, loras, embeddings, pooled)
    return Conditioning(
        embeddings=torch.cat([negative_embeddings, embeddings]),
        pooled=torch.cat([negative_pooled, pooled]),
        time_ids=torch.cat([negative_ids.to(checkpoint.device), ids]),
        adapters=adapters,
    )


def _negative(
    checkpoint: Checkpoint, words: Words, loras: Chosen, embeddings: torch.Tensor, pooled: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The negative prompt as the pipelines' `encode_prompt` has it: without clip_skip, and zeros for none at all."""
    if words.negative_prompt is None and checkpoint.pipeline.config.force_zeros_for_empty_prompt:
        return torch.zeros_like(embeddings), torch.zeros_like(pooled)
    return checkpoint.prompts.encode(words.negative_prompt or "", words.negative_prompt_2, None, loras.text)


def check_clip_skip(facts: Facts, clip_skip: int | None) -> None:
    """Raises RelayError (400) if the text encoders have too few layers."""
    if clip_skip is not None and clip_skip > facts.max_clip_skip:
        raise invalid_field("clip_skip", clip_skip, f"0 to {facts.max_clip_skip}, the text encoders' depth")


def truncated(checkpoint: Checkpoint, words: Words) -> list[str]:
    """The names of the prompt fields of which the encoders read only the first 77 tokens."""
    pipeline = checkpoint.pipeline
    first, second = pipeline.tokenizer or pipeline.tokenizer_2, pipeline.tokenizer_2
    texts: list[tuple[str, str | None, Any]] = [
        ("prompt", words.prompt, first),
        ("prompt_2", words.prompt_2, second),
        ("negative_prompt", words.negative_prompt, first),
        ("negative_prompt_2", words.negative_prompt_2, second),
    ]
    return [
        name
        for name, text, tokenizer in texts
        if text and len(tokenizer(text, verbose=False).input_ids) > tokenizer.model_max_length
    ]
