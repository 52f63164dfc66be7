"""How a stage's steps are guided: how strongly, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from sdxl.handoff.fields import HandOffFields
from sdxl.request.settled import Edit, Generation, Refinement


@dataclass(frozen=True, kw_only=True)
class GuidancePlan:
    """The guidance of one stage's steps."""

    scale: float
    rescale: float
    steps: int
    """So many of the stage's steps come before the request's guidance ends: none, or even all and more."""

    @classmethod
    def of(cls, wanted: Generation | Refinement | Edit | HandOffFields, sampler: Any, to_the_end: Tensor) -> Self:
        """`to_the_end` are the sampler's timesteps from this stage's first to the request's last."""
        return cls(
            scale=wanted.guidance_scale,
            rescale=wanted.guidance_rescale,
            steps=guided_steps(sampler, to_the_end, wanted.guidance_end),
        )

    @property
    def rows(self) -> int:
        """Of the first step: two with guidance. A scale up to 1 means none, as in diffusers' pipelines."""
        return 2 if self.scale > 1 and self.steps > 0 else 1


def guided_steps(sampler: Any, to_the_end: Tensor, guidance_end: float) -> int:
    """How many of `to_the_end`, the sampler's last timesteps, lie in the first `guidance_end` of all.

    A sampler of second order has its timesteps in pairs, of which none is parted.
    """
    in_all = len(sampler.timesteps)
    guided = round(guidance_end * in_all)
    guided += -guided % sampler.order
    return max(0, guided - (in_all - len(to_the_end)))
