"""From words and sizes to what the UNets are conditioned on, by diffusers' own pipelines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from sdxl.denoising.wording import FIRST_STEP, Steps, Words, negatives, positives
from sdxl.errors import invalid_field
from sdxl.models.checkpoint import Checkpoint
from sdxl.models.chunks import CHUNK_TOKENS
from sdxl.models.facts import Facts
from sdxl.models.lora import NO_LORAS, Chosen
from sdxl.models.prompt_cache import MAX_CHUNKS, Wording
from sdxl.request.fields import Pair
from stepbatch.contexts import common_length, repeated
from stepbatch.denoising import Conditioning

MAX_CHUNKS_OF_ALL_STEPS = 48  # of one row; of SDXL's size, a chunk of two rows is 0.6 MB in half precision
BySteps = dict[int, Conditioning]
"""What the UNet is told, by the index of the step from which on it is; always with 0. Two rows have the negative prompt
first."""


def base_conditioning(
    checkpoint: Checkpoint, words: Words, size: Pair, rows: int, loras: Chosen = NO_LORAS, steps: Steps = FIRST_STEP
) -> BySteps:
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
    return _conditioning(checkpoint, words, loras, rows, positive, negative, steps)


def img2img_conditioning(
    checkpoint: Checkpoint, words: Words, size: Pair, rows: int, loras: Chosen = NO_LORAS, steps: Steps = FIRST_STEP
) -> BySteps:
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
    return _conditioning(checkpoint, words, loras, rows, positive, negative, steps)


def _conditioning(
    checkpoint: Checkpoint,
    words: Words,
    loras: Chosen,
    rows: int,
    positive_ids: torch.Tensor,
    negative_ids: torch.Tensor,
    steps: Steps,
) -> BySteps:
    """One object for each pair of wordings that comes up, whenever it does."""
    without_negative = words.negative_prompt is None and checkpoint.pipeline.config.force_zeros_for_empty_prompt
    in_turn = [
        (positive, None if rows == 1 or without_negative else negative)
        for positive, negative in zip(positives(words, steps), negatives(words, steps), strict=True)
    ]
    made: dict[tuple[Wording, Wording | None], Conditioning] = {}
    by_step: dict[int, Conditioning] = {}
    ids = positive_ids.to(checkpoint.device)
    both_ids = ids if rows == 1 else torch.cat([negative_ids.to(checkpoint.device), ids])
    for index, pair in enumerate(in_turn):
        if pair not in made:
            embeddings, pooled = _encoded(checkpoint, *pair, loras, rows)
            made[pair] = Conditioning(
                embeddings=embeddings,
                pooled=pooled,
                time_ids=both_ids,
                adapters=(loras.unet,) * rows if loras.unet else (),
            )
            _check_total(made.values())
        if index == 0 or pair != in_turn[index - 1]:
            by_step[index] = made[pair]
    return by_step


def _encoded(
    checkpoint: Checkpoint, positive: Wording, negative: Wording | None, loras: Chosen, rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings [rows, tokens, width] and pooled [rows, width]; zeros for no negative prompt at all, as pipelines do.

    Both rows' contexts are made equally long, by what changes nothing: they are repeated.
    """
    embeddings, pooled = checkpoint.prompts.encode(positive, loras.text)
    if rows == 1:
        return embeddings, pooled
    if negative is None:
        others = torch.zeros_like(embeddings), torch.zeros_like(pooled)
    else:
        others = checkpoint.prompts.encode(negative, loras.text)
    both = others[0], embeddings
    lengths = [own.shape[1] for own in both]
    tokens = common_length(lengths)
    if tokens > MAX_CHUNKS * CHUNK_TOKENS:  # very much to attend to: here, empty chunks follow the shorter one
        tokens = max(lengths)
        empty = checkpoint.prompts.encode(Wording(texts=("", "")), loras.text)[0]
        both = _filled(others[0], empty, tokens), _filled(embeddings, empty, tokens)
    return torch.cat([repeated(own, tokens) for own in both]), torch.cat([others[1], pooled])


def _filled(own: torch.Tensor, empty: torch.Tensor, tokens: int) -> torch.Tensor:
    return torch.cat([own, repeated(empty, tokens)[:, own.shape[1] :]], dim=1)


def _check_total(made: Iterable[Conditioning]) -> None:
    """Raises RelayError (400): all of a job's conditioning is in memory from its first step on."""
    chunks = sum(conditioning.tokens for conditioning in made) // CHUNK_TOKENS
    if chunks > MAX_CHUNKS_OF_ALL_STEPS:
        allowed = f"at most {MAX_CHUNKS_OF_ALL_STEPS} chunks of 75 tokens, of all that the prompts are at some step"
        raise invalid_field("prompt", f"at least {chunks} chunks", allowed)


def check_clip_skip(facts: Facts, clip_skip: int | None) -> None:
    """Raises RelayError (400) if the text encoders have too few layers."""
    if clip_skip is not None and clip_skip > facts.max_clip_skip:
        raise invalid_field("clip_skip", clip_skip, f"0 to {facts.max_clip_skip}, the text encoders' depth")


def truncated(checkpoint: Checkpoint, words: Words) -> list[str]:
    """The names of the prompt fields of which the encoders read only the first 77 tokens."""
    if words.prompt_syntax == "a1111" or words.long_prompts:
        return []
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
