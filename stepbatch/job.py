"""The engine's nouns: a job, the state of its denoising, and what it is conditioned on."""

import math
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from stepbatch.errors import NonFiniteLatents

T = TypeVar("T")


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
    """What the UNet is told besides latents and timestep.

    A job with guidance has two rows, first the negative prompt's, then the prompt's; one without has one.
    Raises ValueError when the tensors differ in rows.
    """

    embeddings: Tensor  # [rows, tokens, width]
    pooled: Tensor  # [rows, width]
    time_ids: Tensor  # [rows, 6] for the base model, [rows, 5] for the refiner

    def __post_init__(self) -> None:
        rows = [len(tensor) for tensor in (self.embeddings, self.pooled, self.time_ids)]
        if len(set(rows)) != 1:
            raise ValueError(f"embeddings, pooled and time_ids must have equally many rows, got {rows}")

    @property
    def rows(self) -> int:
        """Rows of each tensor."""
        return self.embeddings.shape[0]  # len() of a tensor takes three times as long

    @property
    def of_prompt(self) -> "Conditioning":
        """The prompt's row alone, the last; without a copy."""
        return Conditioning(embeddings=self.embeddings[-1:], pooled=self.pooled[-1:], time_ids=self.time_ids[-1:])


@dataclass(kw_only=True, eq=False, repr=False)
class Denoising:
    """How far one job's latents have come, and all that its next step needs.

    Latents and conditioning are on the UNet's device; timesteps, like the sampler's other tables, are on the
    host, which reads them. The sampler holds state of its own and is never shared.
    Raises ValueError for latents that are not one picture's, for more than two rows, and for two without a guided step.
    """

    latents: Tensor  # [1, 4, h, w], in the UNet's dtype
    sampler: Sampler
    timesteps: Tensor  # [steps], int64 or float32, from noisy to clean
    conditioning: Conditioning  # of the next step
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
        return _rows_of(self.rows, self.remaining_steps, self.guided_steps - self.next_step)

    @property
    def is_finished(self) -> bool:
        """Whether no step is to come."""
        return self.remaining_steps == 0

    def advance(self, latents: Tensor) -> None:
        """Take the latents [1, 4, h, w] that the next step has given, and count the step."""
        self.latents = latents
        self.next_step += 1
        if self.rows == 2 and self.next_step >= self.guided_steps:
            self.conditioning = self.conditioning.of_prompt  # once, so that a stack of the same parts can be kept


def _rows_of(rows: int, steps: int, guided_steps: float) -> float:
    """Rows of `steps` steps, of which the first `guided_steps` have `rows`, and the others one."""
    guided = min(guided_steps, steps)
    return guided * rows + (steps - guided)


class Phase(Enum):
    """What a job needs next."""

    PREPARE = auto()
    DENOISE = auto()
    FINISH = auto()
    ENDED = auto()


@dataclass(kw_only=True)
class Timings:
    """Where a job's wall time went, in milliseconds; complete once the job's future is resolved."""

    queue_ms: float = 0.0  # from submission to the begin of its preparation
    prepare_ms: float = 0.0
    denoise_ms: float = 0.0  # from the end of its preparation to the end of its last tick so far
    finish_ms: float = 0.0


@dataclass(kw_only=True, eq=False, repr=False)
class Job(Generic[T]):
    """One picture's way through one stage.

    `prepare`, `on_step` and `finish` run on the engine's thread, under torch.inference_mode. What one of
    them raises becomes the future's exception (anything that is no Exception, wrapped in EngineError).
    """

    prepare: Callable[[], Denoising]
    finish: Callable[[Tensor], T]  # from the final latents [1, 4, h, w] to the job's result
    rows: int  # of its next tick; this and the next four are known before the Denoising is, for the policy
    size: tuple[int, int]  # latent height and width
    steps: int
    guided_steps: float = math.inf  # see Denoising
    adapters: Hashable = ()  # what the model must be switched to for it (see `Switch`); () for nothing
    finish_work: float = 0.0  # of `finish`, in the unit of `remaining_work`
    is_low_priority: bool = False
    time_limit_s: float = math.inf  # from submission; a job that takes longer fails with DeadlinePassed
    on_step: Callable[[int, int], None] | None = None  # (steps done, steps in all), after each step
    future: Future[T] = field(init=False, default_factory=Future)
    timings: Timings = field(init=False, default_factory=Timings)
    submitted_at: float = field(init=False, default=0.0)  # seconds on the engine's clock
    prepared_at: float = field(init=False, default=0.0)  # seconds on the engine's clock
    _denoising: Denoising | None = field(init=False, default=None)
    _has_ended: bool = field(init=False, default=False)

    @property
    def phase(self) -> Phase:
        """What the job needs next; it changes on the engine's thread only."""
        denoising = self._denoising  # read before _has_ended, because `end` writes them the other way round
        if self._has_ended:
            return Phase.ENDED
        if denoising is None:
            return Phase.PREPARE
        return Phase.FINISH if denoising.is_finished else Phase.DENOISE

    @property
    def group(self) -> Hashable:
        """On which all jobs of a tick must agree: the latents' size and the adapters."""
        return self.size, self.adapters

    @property
    def pixels(self) -> int:
        """Latent pixels of one row."""
        return self.size[0] * self.size[1]

    @property
    def remaining_work(self) -> float:
        """What the job still asks of the engine, in rows x latent pixels x steps: what a tick's time goes by."""
        denoising = self._denoising
        if denoising is None:
            return _rows_of(self.rows, self.steps, self.guided_steps) * self.pixels + self.finish_work
        return denoising.remaining_rows * self.pixels + self.finish_work

    @property
    def deadline(self) -> float:
        """Seconds on the engine's clock."""
        return self.submitted_at + self.time_limit_s

    @property
    def denoising(self) -> Denoising:
        """The job's denoising; raises RuntimeError before it is prepared and after it has ended."""
        if self._denoising is None:
            raise RuntimeError("the job is not prepared yet, or has ended")
        return self._denoising

    def cancel(self) -> None:
        """Give the job up; from any thread, any number of times, without effect once it has ended.

        The future is cancelled at once, and the engine drops the job before its next tick.
        """
        # So cancelling the future itself, as asyncio.wrap_future does, is the very same thing.
        self.future.cancel()

    def enter_denoising(self) -> None:
        """Prepare; for the engine. Raises what `prepare` raises, and ValueError if rows or size differ."""
        denoising = self.prepare()
        announced, got = (self.rows, self.size), (denoising.rows, denoising.shape[2:])
        if got != announced:
            raise ValueError(f"the job was admitted with rows and size {announced}, but prepared {got}")
        self._denoising = denoising

    def advance(self, latents: Tensor) -> None:
        """Take the latents [1, 4, h, w] that its step has given; for the engine. Raises what `on_step` raises."""
        denoising = self.denoising
        denoising.advance(latents)
        self.rows = denoising.rows
        if self.on_step is not None:
            self.on_step(denoising.next_step, denoising.steps)

    def finished(self) -> T:
        """Finish; for the engine. Raises what `finish` raises, and NonFiniteLatents for NaN or infinity."""
        # Only here, because it makes the host wait for the GPU. NaN and infinity do not go away by themselves,
        # nor do they reach other rows.
        if not is_finite(self.denoising.latents):
            raise NonFiniteLatents(f"the latents hold NaN or infinity after {self.steps} steps")
        return self.finish(self.denoising.latents)

    def end(self) -> None:
        """Leave the engine; for the engine. Lets go of the tensors, however long the job is kept."""
        self._has_ended = True
        self._denoising = None


def is_finite(numbers: Tensor) -> bool:
    """Whether neither NaN nor infinity is among them, in a sixth of the time of torch.isfinite(numbers).all()."""
    extremes = torch.stack(torch.aminmax(numbers))  # NaN, if it is among them, is both
    return bool(torch.isfinite(extremes).all())
