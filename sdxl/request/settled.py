"""Requests with nothing left open, and the checkpoint's defaults that settle them."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import model_validator

from sdxl.request.bounds import Bounds
from sdxl.request.fields import (
    EditRefineMode,
    Guidance,
    OpenShare,
    Pair,
    RefineMode,
    Seed,
    Side,
    Steps,
    Strength,
    StrictModel,
)
from sdxl.request.samplers import SamplerName
from sdxl.request.shared import SharedFields


class _Settled(SharedFields):
    num_inference_steps: Steps
    guidance_scale: Guidance
    seed: Seed
    scheduler: SamplerName
    strength: Strength
    original_size: Pair | None = None
    target_size: Pair | None = None
    negative_original_size: Pair | None = None
    negative_target_size: Pair | None = None


class _OfBothStages(_Settled):
    """Without an original or target size, the picture's own counts."""

    refiner_guidance_scale: Guidance
    high_noise_frac: OpenShare

    @model_validator(mode="before")
    @classmethod
    def _one_guidance_for_both(cls, values: dict[str, object]) -> dict[str, object]:
        return {"refiner_guidance_scale": values["guidance_scale"], **values}


class Generation(_OfBothStages):
    """A `GenerationRequest` with nothing left open."""

    width: Side
    height: Side
    refine: RefineMode


class Edit(_OfBothStages):
    """An `EditRequest` with nothing left open."""

    refine: EditRefineMode


class Refinement(_Settled):
    """A `RefineRequest` with nothing left open."""


class Defaults(StrictModel):
    """What a checkpoint's relay.json may set; here, the values of a checkpoint without one."""

    width: Side = 1024
    height: Side = 1024
    num_inference_steps: Steps = 30
    guidance_scale: Guidance = 5.0
    refiner_guidance_scale: Guidance | None = None
    scheduler: SamplerName = "euler"
    refine: RefineMode = "ensemble"
    high_noise_frac: OpenShare = 0.8
    strength: Strength = 0.3
    edit_steps: Steps | None = None
    """The num_inference_steps of an edit; without them, those of any picture."""
    edit_strength: Strength = 0.8
    inpaint_strength: Strength = 0.9999
    """Of an edit with a mask. At 1, diffusers begins with pure noise instead of noise over the original."""
    bounds: Bounds = Bounds()

    @property
    def for_refiner(self) -> float:
        """The guidance scale of the refiner stage."""
        return self.guidance_scale if self.refiner_guidance_scale is None else self.refiner_guidance_scale

    def of(self, fields: Iterable[str]) -> dict[str, object]:
        """Those of the fields that have a value."""
        return self.model_dump(exclude_none=True, include=set(fields))
