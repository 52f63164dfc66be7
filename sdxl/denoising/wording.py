"""Which words the text encoders get at which of a stage's steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from sdxl.handoff.fields import HandOffFields
from sdxl.models.prompt_cache import Wording
from sdxl.prompt.editing import texts_at
from sdxl.request.settled import Edit, Generation, Refinement

# What the text encoders and the size conditioning are told by.
Words = Generation | Refinement | Edit | HandOffFields


@dataclass(frozen=True, kw_only=True)
class Steps:
    """A stage's steps, as prompts count them that change with the step."""

    numbers: Sequence[int]
    """Of each UNet call; the first step of a picture is 1."""
    in_all: int
    """The request's num_inference_steps, of which shares are taken."""

    @classmethod
    def of(cls, sampler: Any, timesteps: Tensor, words: Words, done: int = 0) -> Self:
        """Of a stage's `timesteps`, after so many steps of an earlier one.

        A sampler of second order calls the UNet twice for a step.
        """
        numbers = [done + 1 + index // sampler.order for index in range(len(timesteps))]
        return cls(numbers=numbers or [done + 1], in_all=words.num_inference_steps)


FIRST_STEP = Steps(numbers=(1,), in_all=1)


def steps_taken(sampler: Any, timesteps: Tensor) -> int:
    """How many whole steps these timesteps are: of a pair that the cutoff parts, the refiner repeats the first half."""
    taken: int = len(timesteps) // sampler.order
    return taken


def positives(words: Words, steps: Steps) -> list[Wording]:
    """The prompt's at each UNet call."""
    return _wordings(words, (words.prompt, words.prompt_2), ("prompt", "prompt_2"), words.clip_skip, steps)


def negatives(words: Words, steps: Steps) -> list[Wording]:
    """The negative prompt's, as the pipelines' `encode_prompt` reads it: without clip_skip."""
    texts = words.negative_prompt or "", words.negative_prompt_2
    return _wordings(words, texts, ("negative_prompt", "negative_prompt_2"), None, steps)


def _wordings(
    words: Words, texts: tuple[str, str | None], fields: tuple[str, str], clip_skip: int | None, steps: Steps
) -> list[Wording]:
    first, second = texts[0], texts[1] or texts[0]
    in_turn = [_at_steps(text, words, steps) for text in (first, second)]
    return [
        Wording(texts=pair, clip_skip=clip_skip, syntax=words.prompt_syntax, is_long=words.long_prompts, fields=fields)
        for pair in zip(*in_turn, strict=True)
    ]


def _at_steps(text: str, words: Words, steps: Steps) -> list[str]:
    if words.prompt_syntax == "plain":
        return [text] * len(steps.numbers)
    return texts_at(text, steps.numbers, steps.in_all)
