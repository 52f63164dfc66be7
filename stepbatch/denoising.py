"""The state of one job's denoising, and what it is conditioned on."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor


class Sampler(Protocol):
    """What the engine needs of a noise sampler; diffusers' schedulers offer it."""

    def scale_model_input(self, sample: Tensor, timestep: Tensor) -> Tensor:
        """Scale latents [1, 4, h, w] to what the UNet expects at the 0-d `timestep`."""

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, *, return_dict: bool, **options: object
    ) -> tuple[Tensor, ...]:
        """Return a tuple whose first item is the less noisy latents [1, 4, h, w]."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Conditioning:
    """What the UNet is told besides latents and timestep. What `adapters` mean is the UNet's affair; () is nothing.

    A job with guidance has two rows, first the negative prompt's, then the prompt's; one without has one.
    Raises ValueError when the tensors differ in rows.
    """

    embeddings: Tensor  # [rows, tokens, width]
    pooled: Tensor  # [rows, width]
    time_ids: Tensor  # [rows, 6] for the base model, [rows, 5] for the refiner
    adapters: tuple[Hashable, ...] = ()  # what else the UNet adds to each row: one for each, or none at all

    def __post_init__(self) -> None:
        rows = [len(tensor) for tensor in (self.embeddings, self.pooled, self.time_ids)]
        if len(set(rows)) != 1:
            raise ValueError(f"embeddings, pooled and time_ids must have equally many rows, got {rows}")
        if self.adapters and len(self.adapters) != rows[0]:
            raise ValueError(f"{rows[0]} rows need as many adapters, got {len(self.adapters)}")

    @property
    def rows(self) -> int:
        """Rows of each tensor."""
        return self.embeddings.shape[0]  # len() of a tensor takes three times as long

    @property
    def tokens(self) -> int:
        """How long the rows' contexts are."""
        return self.embeddings.shape[1]

    @property
    def of_prompt(self) -> "Conditioning":
        """The prompt's row alone, the last; without a copy."""
        return Conditioning(
            embeddings=self.embeddings[-1:],
            pooled=self.pooled[-1:],
            time_ids=self.time_ids[-1:],
            adapters=self.adapters[-1:],
        )


@dataclass(kw_only=True, eq=False, repr=False)
class Denoising:
    """How far one job's latents have come, and all that its next step needs.

    Latents and conditioning are on the UNet's device; timesteps, like the sampler's other tables, are on the
    host, which reads them. The sampler holds state of its own and is never shared.
    Raises ValueError for latents that are not one picture's, for more than two rows, for two without a guided step, and
    for changes of the rows.
    """

    latents: Tensor  # [1, 4, h, w], in the UNet's dtype
    sampler: Sampler
    timesteps: Tensor  # [steps], int64 or float32, from noisy to clean
    conditioning: Conditioning  # of the next step
    changes: Mapping[int, Conditioning] = field(default_factory=dict)  # by the index of the step from which each counts
    guidance_scale: float = 1.0  # without meaning when the conditioning has one row
    guidance_rescale: float = 0.0  # 0 to 1; 0 is off
    guided_steps: float = math.inf  # so many begin with two rows, if any do; then the prompt's row goes on alone
    step_options: Mapping[str, object] = field(default_factory=dict)  # to every sampler.step: generator, eta
    next_step: int = 0  # index into timesteps

    def __post_init__(self) -> None:
        if self.latents.ndim != 4 or len(self.latents) != 1:
            raise ValueError(f"latents must be [1, channels, h, w], got {list(self.latents.shape)}")
        if self.rows not in (1, 2):
            raise ValueError(f"a job has 1 row, or 2 with guidance; its conditioning has {self.rows}")
        if self.rows == 2 and self.guided_steps < 1:
            raise ValueError(f"2 rows need a guided step, got guided_steps {self.guided_steps}")
        if any(change.rows != self.rows for change in self.changes.values()):
            raise ValueError(f"all conditioning of a job has as many rows as the first, {self.rows}")

    @property
    def rows(self) -> int:
        """Rows this job adds to the next tick: 2 with guidance, else 1."""
        return self.conditioning.rows

    @property
    def shape(self) -> tuple[int, ...]:
        """The latents' shape, on which all jobs of a tick must agree."""
        return tuple(self.latents.shape)

    @property
    def timestep(self) -> Tensor:
        """The next step's timestep, 0-d, as diffusers passes it to a sampler."""
        return self.timesteps[self.next_step]

    @property
    def steps(self) -> int:
        """Steps in all, done and to come."""
        return self.timesteps.shape[0]

    @property
    def remaining_steps(self) -> int:
        """Steps to come."""
        return self.steps - self.next_step

    @property
    def remaining_rows(self) -> float:
        """Rows of all steps to come."""
        return rows_of(self.rows, self.remaining_steps, self.guided_steps - self.next_step)

    @property
    def is_finished(self) -> bool:
        """Whether no step is to come."""
        return self.remaining_steps == 0

    def advance(self, latents: Tensor) -> None:
        """Take the latents [1, 4, h, w] that the next step has given, and count the step."""
        self.latents = latents
        self.next_step += 1
        self.conditioning = self.changes.get(self.next_step, self.conditioning)
        if self.rows == 2 and self.next_step >= self.guided_steps:
            self.conditioning = self.conditioning.of_prompt  # once, so that a stack of the same parts can be kept


def rows_of(rows: int, steps: int, guided_steps: float) -> float:
    """Rows of `steps` steps, of which the first `guided_steps` have `rows`, and the others one."""
    guided = min(guided_steps, steps)
    return guided * rows + (steps - guided)


def is_finite(numbers: Tensor) -> bool:
    """Whether neither NaN nor infinity is among them, in a sixth of the time of torch.isfinite(numbers).all()."""
    extremes = torch.stack(torch.aminmax(numbers))  # NaN, if it is among them, is both
    return bool(torch.isfinite(extremes).all())
