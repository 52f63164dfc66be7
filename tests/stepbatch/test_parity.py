"""diffusers' own samplers, all in one engine, against the loop of diffusers' pipelines, step for step."""

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    PNDMScheduler,
)
from torch import Tensor

from stepbatch.denoising import Conditioning, Denoising
from stepbatch.job import Job
from tests.stepbatch.fakes import TIMEOUT_S, FalseUNet, denoise_alone, make_engine

# diffusers reads torch tensors in a way that NumPy 2 is about to give up.

SDXL = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timestep_spacing": "leading",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    sampler: Any  # one of diffusers' classes
    options: dict[str, Any] = field(default_factory=dict)
    steps: int
    rows: int = 2
    takes_generator: bool = True


CASES = {
    "euler": Case(sampler=EulerDiscreteScheduler, steps=8),
    "dpmpp_2m": Case(sampler=DPMSolverMultistepScheduler, steps=11),
    "dpmpp_2m_karras": Case(sampler=DPMSolverMultistepScheduler, options={"use_karras_sigmas": True}, steps=9),
    "dpmpp_2m_sde": Case(sampler=DPMSolverMultistepScheduler, options={"algorithm_type": "sde-dpmsolver++"}, steps=7),
    "euler_ancestral": Case(sampler=EulerAncestralDiscreteScheduler, steps=6),
    "ddim": Case(sampler=DDIMScheduler, steps=5, rows=1),
    "heun": Case(sampler=HeunDiscreteScheduler, steps=5, takes_generator=False),
    "pndm": Case(sampler=PNDMScheduler, options={"skip_prk_steps": True}, steps=6, takes_generator=False),
}


def prepare(case: Case) -> Denoising:
    generator = torch.Generator().manual_seed(case.steps)
    sampler = case.sampler(**SDXL, **case.options)
    sampler.set_timesteps(case.steps)
    return Denoising(
        latents=torch.randn(1, 4, 8, 8, generator=generator) * sampler.init_noise_sigma,
        sampler=sampler,
        timesteps=sampler.timesteps,
        conditioning=Conditioning(
            embeddings=torch.randn(case.rows, 3, 5, generator=generator),
            pooled=torch.randn(case.rows, 2, generator=generator),
            time_ids=torch.randint(64, (case.rows, 6), generator=generator).float(),
        ),
        guidance_scale=5.0,
        step_options={"generator": generator} if case.takes_generator else {},
    )


@pytest.fixture(scope="module")
def in_company() -> dict[str, list[Tensor]]:
    """Every sampler's latents after each step, from ticks that all of them share."""
    paths: dict[str, list[Tensor]] = {name: [] for name in CASES}

    def job(name: str) -> Job[Tensor]:
        return Job(
            prepare=lambda: prepare(CASES[name]),
            finish=lambda latents: latents,
            rows=CASES[name].rows,
            size=(8, 8),
            steps=CASES[name].steps,
            on_step=lambda *_: paths[name].append(jobs[name].denoising.latents),
        )

    jobs = {name: job(name) for name in CASES}
    unet = FalseUNet()
    rows = sum(case.rows for case in CASES.values())
    engine = make_engine(unet, max_rows=rows)
    for each in jobs.values():
        engine.submit(each)
    with engine:
        for each in jobs.values():
            each.future.result(TIMEOUT_S)
    assert unet.rows[0] == rows, "all of them share the first ticks"
    return paths


@pytest.mark.parametrize("name", CASES)
def test_a_sampler_in_company_goes_the_way_it_goes_in_diffusers(name: str, in_company: dict[str, list[Tensor]]) -> None:
    alone: list[Tensor] = []
    state = prepare(CASES[name])
    step = state.sampler.step

    def noting_step(*args: Any, **kwargs: Any) -> Any:
        stepped = step(*args, **kwargs)
        alone.append(stepped[0])
        return stepped

    state.sampler.step = noting_step  # type: ignore[method-assign]
    denoise_alone(state, FalseUNet())
    assert len(alone) == state.steps
    for number, (got, want) in enumerate(zip(in_company[name], alone, strict=True), start=1):
        difference = (got - want).abs().max() / want.abs().max()
        assert difference < 2e-6, f"{name} diverges at step {number}"


def test_the_samplers_go_different_ways(in_company: dict[str, list[Tensor]]) -> None:
    for one, other in itertools.combinations(in_company.values(), 2):
        assert not torch.allclose(one[-1], other[-1], atol=1e-3)
