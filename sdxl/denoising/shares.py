"""Which of a request's steps each stage does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from sdxl.denoising import sampler as samplers
from sdxl.errors import RelayError
from sdxl.request.requests import EditRequest, GenerationRequest
from sdxl.request.settled import Edit, Generation

Wanted = TypeVar("Wanted", Generation, Edit)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shares:
    """The base's steps, and what comes after them."""

    sampler: Any
    """The base's, with its timesteps set."""
    cutoff: int | None
    """The training timestep at which the base stops, if it does stop midway."""
    of_both: Tensor  # [steps], all timesteps of the request, from noisy to clean
    of_base: Tensor  # [steps], the first of them; none for an edit that the refiner does alone
    steps_after: int
    """How many are left to the refiner."""


def of_generation(wanted: Generation, config: Mapping[str, Any]) -> Shares:
    """Raises RelayError (400) where the sampler cannot do the steps, or a stage would get none of them."""
    sampler = _sampler(wanted, config)
    cutoff = samplers.cutoff_timestep(wanted.high_noise_frac) if wanted.refine == "ensemble" else None
    timesteps = samplers.base_steps(sampler, wanted.num_inference_steps, cutoff)
    return Shares(
        sampler=sampler,
        cutoff=cutoff,
        of_both=sampler.timesteps,
        of_base=timesteps,
        steps_after=_refiner_steps(wanted, config, cutoff),
    )


def of_edit(wanted: Edit, config: Mapping[str, Any]) -> Shares:
    """As `of_generation`, of the steps that the strength leaves; those of the base may be none."""
    sampler = _sampler(wanted, config)
    cutoff = samplers.cutoff_timestep(wanted.high_noise_frac) if wanted.refine == "ensemble" else None
    of_both = samplers.img2img_steps(sampler, wanted.num_inference_steps, wanted.strength)
    timesteps = samplers.edit_steps(of_both, wanted.num_inference_steps, cutoff)
    if len(timesteps) == 0:
        cutoff = None
    return Shares(
        sampler=sampler,
        cutoff=cutoff,
        of_both=of_both,
        of_base=timesteps,
        steps_after=_refiner_steps(wanted, config, cutoff),
    )


def without_idle_refiner(
    asked: GenerationRequest | EditRequest, wanted: Wanted, share: Callable[[Wanted], Shares]
) -> tuple[Wanted, Shares]:
    """The request as it can be done, and its shares.

    A refiner that nobody asked for, and that with so few steps cannot have a part, is left out. Raises RelayError (400)
    where one was asked for: by `refine`, by `refiner_model`, which the entry has settled, or by the strength of sdedit.
    """
    try:
        return wanted, share(wanted)
    except RelayError:
        if asked.refine is not None or wanted.refine == "none" or (wanted.refine == "sdedit" and asked.strength):
            raise
    alone = wanted.model_copy(update={"refine": "none", "refiner_model": None})
    return alone, share(alone)


def _refiner_steps(wanted: Generation | Edit, config: Mapping[str, Any], cutoff: int | None) -> int:
    """What the refiner would refuse is refused before the base has worked for it."""
    if wanted.refine == "none":
        return 0
    sampler, steps = _sampler(wanted, config), wanted.num_inference_steps
    if cutoff is None:
        return len(samplers.img2img_steps(sampler, steps, wanted.strength))
    return len(samplers.refiner_steps(sampler, steps, cutoff))


def _sampler(wanted: Generation | Edit, config: Mapping[str, Any]) -> Any:
    return samplers.make_sampler(wanted.scheduler, config, wanted.schedule)
