"""Contexts of unlike length share a tick, and jobs change what they are told between two steps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stepbatch.contexts import ContextLimit, repeated
from stepbatch.denoising import Conditioning, Denoising
from stepbatch.engine import Engine
from stepbatch.graphs import GraphedUNet
from stepbatch.job import Job, Phase
from stepbatch.models import OneModel
from stepbatch.policy import FirstComeFirstServed, Policy, RowLimit, ShortestRemainingWork, reason_to_wait
from stepbatch.tick import KeptStack, stacked, tick
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, make_denoising, make_job

UP_TO_6, ALIKE = ContextLimit(tokens=6), ContextLimit(tokens=None)


class Attention:
    """A UNet whose rows attend to their contexts, as a real one's do: softmax over all of its tokens."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:  # noqa: ARG002
        self.tokens.append(conditioning.tokens)
        queries = latents.flatten(2).transpose(1, 2)  # [n, pixels, 4]
        keys, values = conditioning.embeddings[..., :4], conditioning.embeddings[..., 1:5]
        attended = torch.nn.functional.scaled_dot_product_attention(queries, keys, values)
        return attended.transpose(1, 2).reshape(latents.shape)


def told(seed: int, tokens: int, rows: int = 2) -> Conditioning:
    generator = torch.Generator().manual_seed(seed)
    return Conditioning(
        embeddings=torch.randn(rows, tokens, 5, generator=generator),
        pooled=torch.full((rows, 2), float(seed)),
        time_ids=torch.zeros(rows, 6),
    )


def job_of(tokens: int | None, *, steps: int = 4, rows: int = 2) -> Job[Any]:
    """Not prepared yet, without tokens."""
    job = make_job(steps=steps, rows=rows)
    if tokens is not None:
        job.enter_denoising()
        job.denoising.conditioning = told(0, tokens, rows)
    return job


@pytest.mark.parametrize(
    ("limit", "lengths", "allowed"),
    [
        (UP_TO_6, [1, 2, 3], True), (UP_TO_6, [2, 3, 6], True), (UP_TO_6, [3, 4], False), (UP_TO_6, [4, 6], False),
        (UP_TO_6, [1, 4, 2], True), (UP_TO_6, [8], True), (UP_TO_6, [8, 4, 1], True), (UP_TO_6, [8, 3], False),
        (ALIKE, [3, 3], True), (ALIKE, [3, 6], False), (ALIKE, [1], True),
    ],
)  # fmt: skip
def test_who_may_share_a_tick(limit: ContextLimit, lengths: list[int], allowed: bool) -> None:
    assert limit.allows(lengths) is allowed


@given(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=5), st.integers(0, 1_000))
def test_repetition_changes_no_row(lengths: list[int], seed: int) -> None:
    parts = [told(seed + index, tokens) for index, tokens in enumerate(lengths)]
    latents = torch.randn(2 * len(parts), 4, 3, 3, generator=torch.Generator().manual_seed(seed))
    together = Attention()(latents, torch.zeros(len(latents)), stacked(parts))
    for index, part in enumerate(parts):
        own = slice(2 * index, 2 * index + 2)
        alone = Attention()(latents[own], torch.zeros(2), part)
        torch.testing.assert_close(together[own], alone, rtol=1e-5, atol=1e-6)


def test_a_context_that_is_long_enough_is_not_copied() -> None:
    given_one = torch.randn(2, 3, 5)
    assert repeated(given_one, 3) is given_one


POLICIES: dict[str, Callable[[ContextLimit], Policy]] = {
    "shortest": lambda limit: ShortestRemainingWork(
        limit=RowLimit(rows=8), patience=0.0, low_priority_s=0.0, contexts=limit
    ),
    "fcfs": lambda limit: FirstComeFirstServed(max_rows=8, contexts=limit),
}


@pytest.mark.parametrize("name", POLICIES)
def test_ticks_part_where_contexts_cannot_be_joined(name: str) -> None:
    jobs = [job_of(3), job_of(4), job_of(1), job_of(6), job_of(2)]
    chosen = POLICIES[name](UP_TO_6).choose(jobs)
    assert chosen == [jobs[0], jobs[2], jobs[3], jobs[4]]
    assert [reason_to_wait(job, Phase.DENOISE, chosen) for job in jobs if job not in chosen] == ["context"]
    assert POLICIES[name](ALIKE).choose([job_of(2), *jobs])[1:] == [jobs[4]]
    assert reason_to_wait(job_of(6), Phase.DENOISE, chosen) == "rows"


def test_the_context_of_who_is_not_prepared_is_not_known() -> None:
    jobs = [job_of(3), job_of(None)]
    assert POLICIES["shortest"](ALIKE).choose(jobs) == [jobs[1]]


@pytest.mark.parametrize("limit", [UP_TO_6, ALIKE], ids=["repeated", "alike"])
def test_jobs_of_unlike_lengths_end_as_they_do_alone(limit: ContextLimit) -> None:
    lengths = [1, 4, 3, 2, 6, 5, 3, 1]

    def prepared(index: int) -> Denoising:
        state = make_denoising(seed=index, steps=6)
        state.conditioning = told(index, lengths[index])
        return state

    def results(unet: Attention, wanted: list[int]) -> list[Tensor]:
        with Engine(OneModel(unet), POLICIES["shortest"](limit), max_jobs=8, seconds_per_work=1.0) as engine:
            jobs = [make_job(steps=6) for _ in wanted]
            for job, index in zip(jobs, wanted, strict=True):
                job.prepare = partial(prepared, index)
                engine.submit(job)
            return [job.future.result(TIMEOUT_S) for job in jobs]

    unet = Attention()
    together = results(unet, list(range(len(lengths))))
    assert max(unet.tokens) <= 6
    assert limit is ALIKE or 6 in unet.tokens
    for index, picture in enumerate(together):
        (alone,) = results(Attention(), [index])
        torch.testing.assert_close(picture, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guided_steps", [2, 5, float("inf")])
def test_conditioning_changes_at_its_step(guided_steps: float) -> None:
    unet, first, second = FalseUNet(), told(1, 3), told(2, 6)
    job = make_denoising(steps=6, guided_steps=guided_steps)
    job.conditioning, job.changes = first, {0: first, 3: second, 5: first}
    stack, kept = KeptStack(), []
    while not job.is_finished:
        (latents,) = tick(unet, [job], stack)
        assert isinstance(latents, Tensor)
        kept.append(stack([job.conditioning]))
        job.advance(latents)
    rows = [2 if step < guided_steps else 1 for step in range(6)]
    assert [call.pooled for call in unet.calls] == [
        [value] * count for value, count in zip((1.0, 1.0, 1.0, 2.0, 2.0, 1.0), rows, strict=True)
    ]
    assert kept[0] is kept[1], "while the parts are the same objects, the stack is kept"
    assert kept[2] is not kept[3]


def test_all_conditioning_has_the_same_rows() -> None:
    state = make_denoising(rows=2)
    with pytest.raises(ValueError, match="as many rows as the first, 2"):
        type(state)(
            latents=state.latents,
            sampler=state.sampler,
            timesteps=state.timesteps,
            conditioning=state.conditioning,
            changes={2: told(0, 3, rows=1)},
        )


def test_graphs_are_recorded_for_each_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a GPU: what is recorded is asked by the shapes of all inputs."""
    recorded: list[tuple[int, ...]] = []
    graphed = GraphedUNet(FalseUNet())

    def record(inputs: tuple[Tensor, ...]) -> Any:
        recorded.append(tuple(inputs[2].shape))
        replay = type("Graph", (), {"replay": lambda _: None})()
        return type("Recording", (), {"inputs": inputs, "graph": replay, "output": inputs[0]})()

    monkeypatch.setattr(graphed, "_record", record)
    for tokens in (3, 6, 3):
        graphed(torch.zeros(2, 4, 8, 8), torch.zeros(2), told(0, tokens))
    assert recorded == [(2, 3, 5), (2, 6, 5)]
