from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import rescale_noise_cfg
from torch import Tensor

from stepbatch.denoising import Conditioning, Denoising
from stepbatch.failure import Failure
from stepbatch.tick import KeptStack, guided, next_latents, predict, stacked, tick
from tests.stepbatch.fakes import BrokenSampler, EulerSampler, FalseUNet, denoise_alone, make_denoising


def run(states: list[Denoising], unet: FalseUNet) -> list[Tensor]:
    """Tick all jobs together until each is done; jobs with fewer steps leave earlier."""
    while unfinished := [state for state in states if not state.is_finished]:
        for state, outcome in zip(unfinished, tick(unet, unfinished), strict=True):
            assert isinstance(outcome, Tensor), outcome
            state.advance(outcome)
    return [state.latents for state in states]


def company() -> list[Denoising]:
    return [
        make_denoising(seed=1, steps=3, rows=2),
        make_denoising(seed=2, steps=5, rows=1),
        make_denoising(seed=3, steps=4, rows=2, rescale=0.7),
        make_denoising(seed=4, steps=5, rows=2, noisy=True),
    ]


def test_each_job_in_company_gets_the_result_it_gets_alone() -> None:
    alone = [denoise_alone(state, FalseUNet()) for state in company()]
    for got, want in zip(run(company(), FalseUNet()), alone, strict=True):
        assert torch.equal(got, want)
    # The jobs differ, so a mixed-up row would show.
    assert not torch.allclose(alone[0], alone[2], atol=0.1)


def test_one_call_takes_all_rows_in_the_jobs_order() -> None:
    unet = FalseUNet()
    tick(unet, company())
    assert unet.rows == [7]
    assert unet.calls[0].pooled == [1.0, 1.0, 2.0, 3.0, 3.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("dtypes", "stacked"),
    [
        ((torch.int64, torch.int64), torch.int64),
        ((torch.float32, torch.float32), torch.float32),
        ((torch.int64, torch.float32), torch.float32),
    ],
)
def test_timesteps_are_stacked_one_for_each_row(dtypes: tuple[torch.dtype, torch.dtype], stacked: torch.dtype) -> None:
    seen: list[Tensor] = []

    def unet(latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.rows == 3
        seen.append(timesteps)
        return latents

    jobs = [
        replace(make_denoising(rows=2), timesteps=torch.tensor([999, 1], dtype=dtypes[0])),
        replace(make_denoising(rows=1), timesteps=torch.tensor([641, 1], dtype=dtypes[1])),
    ]
    predict(unet, [(job, torch.cat([job.latents] * job.rows)) for job in jobs])
    assert seen[0].dtype is stacked
    assert seen[0].tolist() == [999, 999, 641]


def test_conditioning_is_stacked_anew_only_when_the_company_has_changed() -> None:
    one, two, other = (make_denoising(seed=seed).conditioning for seed in (1, 2, 3))
    stack = KeptStack()
    first = stack([one, two])
    assert stack([one, two]) is first
    for parts in ([two, one], [two], [two, other], [one, two]):
        got, want = stack(parts), stacked(parts)
        assert got is not first
        assert torch.equal(got.embeddings, want.embeddings)
        assert torch.equal(got.pooled, want.pooled)
        assert torch.equal(got.time_ids, want.time_ids)


def test_conditioning_that_cannot_be_stacked_leaves_the_stack_usable() -> None:
    narrow, wide = make_denoising().conditioning, make_denoising().conditioning
    wide = replace(wide, embeddings=torch.zeros(2, 3, 6))
    stack = KeptStack()
    stack([narrow])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
            stack([narrow, wide])
    assert torch.equal(stack([wide]).embeddings, wide.embeddings)


@pytest.mark.parametrize("where", ["scale_model_input", "step"])
@pytest.mark.parametrize("broken_at", [0, 1, 2])
def test_an_error_of_one_jobs_sampler_is_that_jobs_alone(where: str, broken_at: int) -> None:
    error = ZeroDivisionError("of one job")
    broken = make_denoising(seed=9, sampler=BrokenSampler(4, error=error, where=where, at_step=0))
    states = [make_denoising(seed=1), make_denoising(seed=2)]
    want = tick(FalseUNet(), [make_denoising(seed=1), make_denoising(seed=2)])
    states.insert(broken_at, broken)
    outcomes = tick(FalseUNet(), states)
    failed = outcomes.pop(broken_at)
    assert isinstance(failed, Failure)
    assert failed.error is error
    for got, expected in zip(outcomes, want, strict=True):
        assert isinstance(got, Tensor)
        assert isinstance(expected, Tensor)
        assert torch.equal(got, expected)


def test_the_unet_is_not_called_for_a_job_that_failed_before_it() -> None:
    unet = FalseUNet()
    error = ValueError()
    broken = make_denoising(sampler=BrokenSampler(4, error=error, where="scale_model_input", at_step=0))
    (outcome,) = tick(unet, [broken])
    assert isinstance(outcome, Failure)
    assert outcome.error is error
    assert unet.calls == []


def test_an_error_of_the_unet_fails_every_job_of_the_call() -> None:
    error = RuntimeError("out of memory")

    def run_out_of_memory(_: int) -> None:
        raise error

    outcomes = tick(FalseUNet(before=run_out_of_memory), [make_denoising(), make_denoising()])
    assert [outcome.error for outcome in outcomes if isinstance(outcome, Failure)] == [error, error]


def test_a_sampler_that_widens_the_dtype_does_not_widen_the_jobs_latents() -> None:
    class Widening(EulerSampler):
        def step(
            self,
            model_output: Tensor,
            timestep: Tensor,
            sample: Tensor,
            *,
            return_dict: bool,
            **options: object,
        ) -> tuple[Tensor, ...]:
            stepped = super().step(model_output, timestep, sample, return_dict=return_dict, **options)
            return (stepped[0].double(),)

    state = make_denoising(sampler=Widening(4))
    assert next_latents(state, torch.zeros(2, 4, 8, 8)).dtype is torch.float32


def test_a_job_of_one_row_has_no_guidance() -> None:
    state = replace(make_denoising(rows=1), guidance_scale=1000.0)
    prediction = torch.randn(1, 4, 8, 8)
    want = make_denoising(rows=1).sampler.step(prediction, state.timestep, state.latents, return_dict=False)
    assert torch.equal(next_latents(state, prediction), want[0])


def test_guidance_starts_from_the_negative_row() -> None:
    prediction = torch.stack([torch.full((4, 2, 2), 1.0), torch.full((4, 2, 2), 3.0)])
    assert torch.equal(guided(prediction, scale=5.0, rescale=0.0), torch.full((1, 4, 2, 2), 11.0))


def test_guidance_is_diffusers_formula_to_the_bit() -> None:
    prediction = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    before = prediction.clone()
    negative, positive = before.chunk(2)
    assert torch.equal(guided(prediction, scale=7.3, rescale=0.0), negative + 7.3 * (positive - negative))
    assert torch.equal(prediction, before), "the prediction is the UNet's and stays as it is"


@pytest.mark.parametrize("rescale", [0.0, 0.3, 0.7, 1.0])
def test_guidance_and_rescale_agree_with_diffusers(rescale: float) -> None:
    prediction = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    negative, positive = prediction.chunk(2)
    plain = negative + 7.5 * (positive - negative)
    rescale_noise: Any = rescale_noise_cfg
    want = rescale_noise(plain, positive, guidance_rescale=rescale) if rescale > 0.0 else plain
    torch.testing.assert_close(guided(prediction, scale=7.5, rescale=rescale), want, rtol=1e-6, atol=1e-6)
