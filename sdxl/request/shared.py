"""The fields that both stages are told just as the request has them."""

from __future__ import annotations

from pydantic import ValidationInfo, field_validator

from sdxl.request.fields import (
    MAX_PROMPT_CHARACTERS,
    ClipSkip,
    GuidanceEnd,
    Pair,
    Prompt,
    Score,
    Share,
    StrictModel,
    Text,
)
from sdxl.request.loras import Loras

TEXTS = ("prompt", "prompt_2", "negative_prompt", "negative_prompt_2")


class SharedFields(StrictModel):
    """To add a field of this kind, add it here, with its bounds, its default and its description.

    Requests, settled requests, hand-offs and records inherit it, and so do the documents that describe them.
    """

    prompt: Prompt
    """What to draw. Read plainly, text past the encoders' 77 tokens is left out, and the answer says so."""
    prompt_2: Text | None = None
    """What the second text encoder reads; without it, it reads the prompt."""
    negative_prompt: Text | None = None
    """What not to draw. It works only with guidance."""
    negative_prompt_2: Text | None = None
    """What the second text encoder reads of it; without it, it reads the negative prompt."""
    clip_skip: ClipSkip | None = None
    """How many of the text encoders' last layers to skip, beyond the one that SDXL always skips."""
    guidance_rescale: Share = 0.0
    """How far to draw the guided prediction's contrast back to the prompt's own (arXiv 2305.08891)."""
    guidance_end: GuidanceEnd = 1.0
    """After this share of num_inference_steps there is no guidance, which halves the work from there on."""
    crops_coords_top_left: Pair = (0, 0)
    """Size conditioning: where the original was cropped, (top, left) in pixels."""
    negative_crops_coords_top_left: Pair = (0, 0)
    """The same for the negative prompt."""
    aesthetic_score: Score = 6.0
    """Conditioning of the refiner: how beautiful the picture is to be."""
    negative_aesthetic_score: Score = 2.5
    """The same for the negative prompt."""
    loras: Loras = None
    """LoRAs of the server's settings, each with the factor that its change to the weights is multiplied by."""

    @field_validator(*TEXTS)
    @classmethod
    def _fits_beside_the_others(cls, value: str | None, info: ValidationInfo) -> str | None:
        together = len(value or "") + sum(len(info.data.get(name) or "") for name in TEXTS)
        if together > MAX_PROMPT_CHARACTERS:
            raise ValueError(f"up to {MAX_PROMPT_CHARACTERS} characters of all prompts together, which have {together}")
        return value
