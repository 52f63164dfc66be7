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


@dataclass(kw_only=True, eq=False, repr=False)
class Denoising:
    """How far one job's latents have come, and all that its next step needs.

    Latents and conditioning are on the UNet's device; timesteps, like the sampler's other tables, are on the
    host, which reads them. The sampler holds state of its own and is never shared.
    Raises ValueError for latents that are not one picture's, and for more than two rows.
    """

    latents: Tensor  # [1, 4, h, w], in the UNet's dtype
    sampler: Sampler
    timesteps: Tensor  # [steps], int64 or float32, from noisy to clean
    conditioning: Conditioning
    guidance_scale: float = 1.0  # without meaning when the conditioning has one row
    guidance_rescale: float = 0.0  # 0 to 1; 0 is off
    step_options: Mapping[str, object] = field(default_factory=dict)  # to every sampler.step: generator, eta
    next_step: int = 0  # index into timesteps

    def __post_init__(self) -> None:
        if self.latents.ndim != 4 or len(self.latents) != 1:
            raise ValueError(f"latents must be [1, channels, h, w], got {list(self.latents.shape)}")
        if self.rows not in (1, 2):
            raise ValueError(f"a job has 1 row, or 2 with guidance; its conditioning has {self.rows}")

    @property
    def rows(self) -> int:
        """Rows this job adds to a tick: 2 with guidance, else 1."""
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
    def is_finished(self) -> bool:
        """Whether no step is to come."""
        return self.remaining_steps == 0

    def advance(self, latents: Tensor) -> None:
        """Take the latents [1, 4, h, w] that the next step has given, and count the step."""
        self.latents = latents
        self.next_step += 1


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
    rows: int  # as its Denoising will have; this and the next three are known before, for the policy
    size: tuple[int, int]  # latent height and width
    steps: int
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
        steps = self.steps if denoising is None else denoising.remaining_steps
        return steps * self.rows * self.pixels + self.finish_work

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
