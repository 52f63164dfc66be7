"""A false UNet, a small false sampler, and jobs made of them, for all tests of the engine."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stepbatch.denoising import Conditioning, Denoising
from stepbatch.engine import Engine
from stepbatch.job import Job, Need
from stepbatch.models import OneModel
from stepbatch.policy import FirstComeFirstServed
from stepbatch.tick import UNet

TIMEOUT_S = 30.0  # only ever waited for in full by a test that fails


@dataclass(frozen=True)
class Call:
    rows: int
    shape: tuple[int, ...]  # of one row
    pooled: list[float]  # the first number of each row's pooled embedding: tells whose row it is


@dataclass
class FalseUNet:
    """Elementwise, so that a row's result cannot depend on its company, and depends on all of its inputs."""

    before: Callable[[int], None] = lambda _: None  # called with the number of the call, from 1
    calls: list[Call] = field(default_factory=list)

    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        pooled = conditioning.pooled[:, 0]
        self.calls.append(Call(len(latents), tuple(latents.shape[1:]), pooled.tolist()))
        self.before(len(self.calls))
        assert len(timesteps) == len(latents) == conditioning.rows
        bias = pooled + conditioning.embeddings[:, 0, 0] + 0.001 * conditioning.time_ids[:, 0]
        per_row = (bias + timesteps.float() / 1000.0).view(-1, 1, 1, 1)
        return torch.sin(3.0 * latents + per_row)

    @property
    def rows(self) -> list[int]:
        return [call.rows for call in self.calls]


class EulerSampler:
    """Euler's method from sigma 5 to 0, with a state of its own, as diffusers' samplers have."""

    def __init__(self, steps: int) -> None:
        self.sigmas = torch.linspace(5.0, 0.0, steps + 1)
        self.timesteps = 1000.0 * self.sigmas[:-1] / 5.0
        self.steps_done = 0

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        assert timestep == self.timesteps[self.steps_done]
        return sample / (self.sigmas[self.steps_done] ** 2 + 1) ** 0.5

    def step(
        self,
        model_output: Tensor,
        timestep: Tensor,
        sample: Tensor,
        *,
        return_dict: bool,
        **options: object,
    ) -> tuple[Tensor, ...]:
        assert not return_dict
        assert timestep == self.timesteps[self.steps_done]
        i = self.steps_done
        self.steps_done += 1
        generator = options.get("generator")
        noise = torch.zeros_like(sample)
        if isinstance(generator, torch.Generator):
            noise = 0.1 * torch.randn(sample.shape, generator=generator)
        return (sample + (self.sigmas[i + 1] - self.sigmas[i]) * model_output + noise,)


class BrokenSampler(EulerSampler):
    """Raises `error` in the method and at the step (from 0) that it is told."""

    def __init__(self, steps: int, *, error: BaseException, where: str, at_step: int) -> None:
        super().__init__(steps)
        self.error = error
        self.where = where
        self.at_step = at_step

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        if self.where == "scale_model_input" and self.steps_done == self.at_step:
            raise self.error
        return super().scale_model_input(sample, timestep)

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: bool, **options: object
    ) -> tuple[Tensor, ...]:
        if self.where == "step" and self.steps_done == self.at_step:
            raise self.error
        return super().step(model_output, timestep, sample, return_dict=return_dict, **options)


def make_denoising(
    *,
    seed: int = 0,
    steps: int = 4,
    rows: int = 2,
    size: tuple[int, int] = (8, 8),
    tokens: int = 3,
    rescale: float = 0.0,
    guided_steps: float = math.inf,
    noisy: bool = False,
    sampler: EulerSampler | None = None,
) -> Denoising:
    generator = torch.Generator().manual_seed(seed)
    sampler = sampler or EulerSampler(steps)
    return Denoising(
        latents=5.0 * torch.randn(1, 4, *size, generator=generator),
        sampler=sampler,
        timesteps=sampler.timesteps,
        conditioning=Conditioning(
            embeddings=torch.randn(rows, tokens, 5, generator=generator),
            pooled=torch.full((rows, 2), float(seed)),
            time_ids=torch.randint(64, (rows, 6), generator=generator).float(),
        ),
        guidance_scale=4.0,
        guidance_rescale=rescale,
        guided_steps=guided_steps,
        step_options={"generator": generator} if noisy else {},
    )


def make_job(
    *,
    seed: int = 0,
    steps: int = 4,
    rows: int = 2,
    size: tuple[int, int] = (8, 8),
    tokens: int = 3,
    rescale: float = 0.0,
    guided_steps: float = math.inf,
    noisy: bool = False,
    sampler: EulerSampler | None = None,
    finish_work: float = 0.0,
    is_low_priority: bool = False,
    time_limit_s: float = math.inf,
    on_step: Callable[[int, int], None] | None = None,
    needs: tuple[Need, ...] = (Need(None),),
) -> Job[Tensor]:
    """A job whose result is its final latents."""
    return Job(
        prepare=lambda: make_denoising(
            seed=seed,
            steps=steps,
            rows=rows,
            size=size,
            tokens=tokens,
            rescale=rescale,
            guided_steps=guided_steps,
            noisy=noisy,
            sampler=sampler,
        ),
        finish=lambda latents: latents,
        rows=rows,
        size=size,
        steps=len(sampler.timesteps) if sampler else steps,
        guided_steps=guided_steps,
        finish_work=finish_work,
        is_low_priority=is_low_priority,
        time_limit_s=time_limit_s,
        on_step=on_step,
        needs=needs,
    )


def denoise_alone(state: Denoising, unet: UNet) -> Tensor:
    """The loop that diffusers' pipelines run, for one picture; independent of the engine."""
    latents = state.latents
    for done, t in enumerate(state.timesteps):
        told = state.conditioning if done < state.guided_steps else state.conditioning.of_prompt
        scaled = state.sampler.scale_model_input(torch.cat([latents] * told.rows), t)
        output = unet(scaled, t.expand(told.rows), told)
        if told.rows == 2:
            negative, positive = output.chunk(2)
            output = negative + state.guidance_scale * (positive - negative)
            if state.guidance_rescale > 0.0:
                ratio = positive.std(dim=(1, 2, 3), keepdim=True) / output.std(dim=(1, 2, 3), keepdim=True)
                phi = state.guidance_rescale
                output = phi * (output * ratio) + (1 - phi) * output
        latents = state.sampler.step(output, t, latents, return_dict=False, **state.step_options)[0]
    return latents


def make_engine(
    unet: UNet,
    *,
    max_rows: int = 8,
    max_jobs: int = 16,
    after_tick: Callable[[], None] = lambda: None,
    end_early: Callable[[bool], None] = lambda _: None,
    when_idle: Callable[[], bool] = lambda: False,
) -> Engine:
    return Engine(
        OneModel(unet),
        FirstComeFirstServed(max_rows=max_rows),
        max_jobs=max_jobs,
        seconds_per_work=1.0,
        after_tick=after_tick,
        end_early=end_early,
        when_idle=when_idle,
    )
