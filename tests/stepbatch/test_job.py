from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest
import torch

from stepbatch.denoising import Conditioning, Denoising, is_finite
from stepbatch.job import Job, Phase
from tests.stepbatch.fakes import EulerSampler, make_denoising, make_job


def test_conditioning_refuses_tensors_that_differ_in_rows() -> None:
    with pytest.raises(ValueError, match=r"\[2, 1, 2\]"):
        Conditioning(embeddings=torch.zeros(2, 3, 5), pooled=torch.zeros(1, 5), time_ids=torch.zeros(2, 6))


@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (4, 8, 8)])
def test_denoising_refuses_latents_that_are_not_one_pictures(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="latents"):
        Denoising(
            latents=torch.zeros(shape),
            sampler=EulerSampler(4),
            timesteps=torch.arange(4),
            conditioning=make_denoising().conditioning,
        )


def test_denoising_refuses_three_rows() -> None:
    with pytest.raises(ValueError, match="has 3"):
        make_denoising(rows=3)


def test_denoising_refuses_two_rows_without_a_guided_step() -> None:
    with pytest.raises(ValueError, match="got guided_steps 0"):
        make_denoising(rows=2, guided_steps=0)
    assert make_denoising(rows=1, guided_steps=0).rows == 1


def test_denoising_counts_its_steps() -> None:
    state = make_denoising(steps=2)
    assert (state.rows, state.shape, state.steps, state.remaining_steps) == (2, (1, 4, 8, 8), 2, 2)
    assert state.timestep.item() == 1000.0
    state.advance(torch.ones(1, 4, 8, 8))
    assert state.latents.sum() == 256
    assert state.timestep.item() == 500.0
    assert not state.is_finished
    state.advance(torch.ones(1, 4, 8, 8))
    assert state.is_finished


def test_a_job_passes_through_its_phases() -> None:
    job = make_job(steps=1)
    phases = [job.phase]
    job.enter_denoising()
    phases.append(job.phase)
    job.denoising.advance(job.denoising.latents)
    phases.append(job.phase)
    job.end()
    phases.append(job.phase)
    assert phases == [Phase.PREPARE, Phase.DENOISE, Phase.FINISH, Phase.ENDED]


def test_a_job_has_no_denoising_before_it_is_prepared_nor_after_its_end() -> None:
    job = make_job()
    with pytest.raises(RuntimeError, match="not prepared"):
        _ = job.denoising
    job.enter_denoising()
    job.end()
    with pytest.raises(RuntimeError, match="ended"):
        _ = job.denoising


def test_a_job_refuses_a_preparation_with_other_rows_than_it_was_admitted_with() -> None:
    job = Job(prepare=make_denoising, finish=lambda latents: latents, rows=1, size=(8, 8), steps=4)
    with pytest.raises(ValueError, match=r"\(1, \(8, 8\)\), but prepared \(2, "):
        job.enter_denoising()
    assert job.phase is Phase.PREPARE


def cancel_the_job(job: Job[torch.Tensor]) -> None:
    job.cancel()


def cancel_its_future(job: Job[torch.Tensor]) -> None:
    job.future.cancel()


@pytest.mark.parametrize("cancel", [cancel_the_job, cancel_its_future])
def test_cancelling_is_idempotent_and_cancels_the_future(
    cancel: Callable[[Job[torch.Tensor]], None],
) -> None:
    job = make_job()
    cancel(job)
    cancel(job)
    with pytest.raises(CancelledError):
        job.future.result(timeout=0)


def test_a_jobs_repr_tells_nothing_of_its_contents() -> None:
    job = make_job()
    job.enter_denoising()
    text = repr(job) + repr(job.denoising) + repr(job.denoising.conditioning)
    assert "tensor" not in text
    assert len(text) < 300


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_one_number_that_is_not_finite_is_enough(dtype: torch.dtype, number: float) -> None:
    latents = torch.full((1, 4, 16, 16), torch.finfo(dtype).max, dtype=dtype)
    latents[0, 0] = torch.finfo(dtype).min
    assert is_finite(latents)
    latents[0, 2, 3, 5] = number
    assert not is_finite(latents)
