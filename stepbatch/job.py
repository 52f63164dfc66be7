"""A job, as the engine has it: what it needs next, and all that the policy goes by."""

import math
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor

from stepbatch.denoising import Denoising, is_finite, rows_of
from stepbatch.errors import NonFiniteLatents

T = TypeVar("T")


class Phase(Enum):
    """What a job needs next."""

    PREPARE = auto()
    DENOISE = auto()
    FINISH = auto()
    ENDED = auto()


class Need(NamedTuple):
    """What must be there for a job: a model, or an extra of one, such as a LoRA."""

    model: Hashable
    extra: Hashable = None

    @property
    def is_extra(self) -> bool:
        """Whether it is not the model itself."""
        return self.extra is not None

    @property
    def of_model(self) -> "Need":
        """The model itself."""
        return Need(self.model)


@dataclass(kw_only=True)
class Timings:
    """Where a job's wall time went, in milliseconds; complete once the job's future is resolved."""

    queue_ms: float = 0.0  # from submission to the begin of its preparation
    load_ms: float = 0.0  # of all its time, that in which its model was not there
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
    needs: tuple[Need, ...] = (Need(None),)  # its model, then the extras
    finish_work: float = 0.0  # of `finish`, in the unit of `remaining_work`
    is_low_priority: bool = False
    time_limit_s: float = math.inf  # from submission; a job that takes longer fails with DeadlinePassed
    on_step: Callable[[int, int], None] | None = None  # (steps done, steps in all), after each step
    future: Future[T] = field(init=False, default_factory=Future)
    timings: Timings = field(init=False, default_factory=Timings)
    submitted_at: float = field(init=False, default=0.0)  # seconds on the engine's clock
    prepared_at: float = field(init=False, default=0.0)  # seconds on the engine's clock
    is_loading: bool = field(init=False, default=False)  # what it needs is not there at present
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
        """On which all jobs of a tick must agree: the model and the latents' size."""
        return self.needs[0], self.size

    @property
    def context_tokens(self) -> int | None:
        """How long the context of its next step is; None before it is prepared."""
        return None if self._denoising is None else self._denoising.conditioning.tokens

    @property
    def pixels(self) -> int:
        """Latent pixels of one row."""
        return self.size[0] * self.size[1]

    @property
    def remaining_work(self) -> float:
        """What the job still asks of the engine, in rows x latent pixels x steps: what a tick's time goes by."""
        denoising = self._denoising
        if denoising is None:
            return rows_of(self.rows, self.steps, self.guided_steps) * self.pixels + self.finish_work
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

        The future is cancelled at once. The engine drops the job before its next tick. A tick that is for no other job
        ends early if the model can do that.
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
