"""Which words each UNet call gets, and what a job's conditioning is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from sdxl.config.settings import Settings
from sdxl.denoising.prompt import MAX_CHUNKS_OF_ALL_STEPS, base_conditioning
from sdxl.denoising.sampler import make_sampler, set_steps
from sdxl.denoising.wording import Steps, negatives, positives, steps_taken
from sdxl.errors import RelayError
from sdxl.models.checkpoint import Checkpoint
from sdxl.request.requests import GenerationRequest
from sdxl.request.settled import Defaults, Generation
from tests.loading import load_stage

SIZE = (64, 64)


@pytest.fixture(scope="module")
def checkpoint() -> Iterator[Checkpoint]:
    with torch.inference_mode():
        yield load_stage("base", Settings.model_validate({"device": "cpu", "backend": "torch"}))


def wanted(prompt: str, **fields: Any) -> Generation:
    request = GenerationRequest(prompt=prompt, seed=0, num_inference_steps=10, prompt_syntax="a1111", **fields)
    return request.with_defaults(Defaults())


def steps(count: int = 10, done: int = 0) -> Steps:
    return Steps(numbers=range(done + 1, done + count + 1), in_all=10)


def first_texts(prompt: str, which: Steps, **fields: Any) -> list[str]:
    return [wording.texts[0] for wording in positives(wanted(prompt, **fields), which)]


@pytest.mark.parametrize(
    ("scheduler", "count", "numbers", "taken"),
    [("euler", 4, [1, 2, 3, 4], 4), ("heun", 5, [1, 1, 2, 2, 3], 2), ("heun", 6, [1, 1, 2, 2, 3, 3], 3)],
)
def test_the_numbers_of_steps(scheduler: Any, count: int, numbers: list[int], taken: int) -> None:
    sampler = make_sampler(scheduler, {})
    timesteps = set_steps(sampler, 10)[:count]
    assert list(Steps.of(sampler, timesteps, wanted("a")).numbers) == numbers
    assert list(Steps.of(sampler, timesteps, wanted("a"), done=7).numbers) == [7 + number for number in numbers]
    assert steps_taken(sampler, timesteps) == taken
    assert list(Steps.of(sampler, timesteps[:0], wanted("a"), done=3).numbers) == [4], "what it is told without a step"


def test_words_by_step() -> None:
    assert first_texts("[a:b:3]", steps(5)) == ["a"] * 3 + ["b"] * 2
    assert first_texts("[a:b:0.3]", steps(5)) == ["a"] * 3 + ["b"] * 2
    assert first_texts("[a|b]", steps(3, done=7)) == ["b", "a", "b"]
    assert first_texts("[a:b:3]", steps(2), prompt_2="[c:d:1]") == ["a", "a"]
    both = positives(wanted("[a:b:3]", prompt_2="[c::1]"), steps(2))
    assert [wording.texts[1] for wording in both] == ["c", ""], "an empty text is no missing one"
    told = negatives(wanted("a", negative_prompt="[e|f]", clip_skip=1), steps(2))
    assert [(wording.texts, wording.clip_skip) for wording in told] == [(("e", "e"), None), (("f", "f"), None)]


def test_conditioning_is_made_once_for_each_wording(checkpoint: Checkpoint) -> None:
    made = base_conditioning(checkpoint, wanted("a [red|blue] cube"), SIZE, 2, steps=steps(6))
    assert list(made) == [0, 1, 2, 3, 4, 5]
    assert [made[index] is made[index % 2] for index in made] == [True] * 6
    edited = base_conditioning(checkpoint, wanted("a [red:blue:3] cube"), SIZE, 2, steps=steps(6))
    assert list(edited) == [0, 3]
    assert list(base_conditioning(checkpoint, wanted("(red:1.2) cube"), SIZE, 2, steps=steps(6))) == [0]


@pytest.mark.parametrize(
    ("chunks", "negative_chunks", "tokens"),
    [(1, 1, 1), (2, 1, 2), (1, 3, 3), (2, 3, 6), (3, 4, 12), (4, 5, 5), (12, 5, 12), (12, 12, 12)],
)
def test_both_rows_have_one_length(checkpoint: Checkpoint, chunks: int, negative_chunks: int, tokens: int) -> None:
    words = wanted(" BREAK ".join(["red"] * chunks), negative_prompt=" BREAK ".join(["blue"] * negative_chunks))
    made = base_conditioning(checkpoint, words, SIZE, 2)[0]
    assert made.tokens == tokens * 77
    (alone,) = base_conditioning(checkpoint, words, SIZE, 1).values()
    assert torch.equal(made.embeddings[1, : chunks * 77], alone.embeddings[0])
    if tokens % chunks == 0:
        assert torch.equal(made.embeddings[1], alone.embeddings[0].repeat(tokens // chunks, 1))


def test_what_a_job_holds_is_bound(checkpoint: Checkpoint) -> None:
    options = "|".join(f"red {number}" + " BREAK red" * 7 for number in range(7))  # 8 chunks each
    six = "|".join(options.split("|")[:6])
    made = base_conditioning(checkpoint, wanted(f"[{six}]"), SIZE, 2, steps=steps())
    assert sum({id(each): each.tokens for each in made.values()}.values()) == MAX_CHUNKS_OF_ALL_STEPS * 77
    with pytest.raises(RelayError, match=r'^prompt: got "at least 56 chunks"; allowed: at most 48 chunks'):
        base_conditioning(checkpoint, wanted(f"[{options}]"), SIZE, 2, steps=steps())
