"""Requests with nothing left open, and the checkpoint's defaults that settle them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from sdxl.request.bounds import Bounds
from sdxl.request.fields import (
    EditRefineMode,
    Guidance,
    MaskedContent,
    ModelName,
    OpenShare,
    Pair,
    Prompt,
    PromptSyntax,
    RefineMode,
    Seed,
    Side,
    Steps,
    Strength,
    StrictModel,
)
from sdxl.request.samplers import SamplerName, with_present_names
from sdxl.request.schedules import ScheduleName
from sdxl.request.shared import SharedFields


class _Settled(SharedFields):
    model: ModelName | None = None
    prompt_syntax: PromptSyntax
    long_prompts: bool
    num_inference_steps: Steps
    guidance_scale: Guidance
    seed: Seed
    scheduler: SamplerName
    schedule: ScheduleName
    strength: Strength
    original_size: Pair | None = None
    target_size: Pair | None = None
    negative_original_size: Pair | None = None
    negative_target_size: Pair | None = None


class _OfBothStages(_Settled):
    """Without an original or target size, the picture's own counts."""

    refiner_model: ModelName | None = None
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
    masked_content: MaskedContent = "original"


class Refinement(_Settled):
    """A `RefineRequest` with nothing left open."""


class About(StrictModel):
    """What a checkpoint's relay.json may tell people; the page at /ui shows it."""

    name: str | None = None
    """What the checkpoint is called; without it, what its folder or file is called."""
    description: str | None = None
    """What it can draw."""
    examples: tuple[Prompt, ...] = ()
    """Prompts that work well."""


class Defaults(StrictModel):
    """What a checkpoint's relay.json may set; here, the values of a checkpoint without one."""

    width: Side = 1024
    height: Side = 1024
    prompt_syntax: PromptSyntax = "plain"
    long_prompts: bool = False
    num_inference_steps: Steps = 30
    guidance_scale: Guidance = 5.0
    refiner_guidance_scale: Guidance | None = None
    scheduler: SamplerName = "euler"
    schedule: ScheduleName = "default"
    """Of requests that name no scheduler of their own."""
    refine: RefineMode = "ensemble"
    high_noise_frac: OpenShare = 0.8
    strength: Strength = 0.3
    edit_steps: Steps | None = None
    """The num_inference_steps of an edit; without them, those of any picture."""
    edit_strength: Strength = 0.8
    inpaint_strength: Strength = 0.9999
    """Of an edit with a mask. At 1, diffusers begins with pure noise instead of noise over the original."""
    bounds: Bounds = Bounds()
    about: About = About()

    @model_validator(mode="before")
    @classmethod
    def _with_present_names(cls, values: object) -> object:
        return with_present_names(values)

    @property
    def for_refiner(self) -> float:
        """The guidance scale of the refiner stage."""
        return self.guidance_scale if self.refiner_guidance_scale is None else self.refiner_guidance_scale

    def of(self, fields: Iterable[str]) -> dict[str, object]:
        """Those of the fields that have a value."""
        return self.model_dump(exclude_none=True, include=set(fields))


class Card(BaseModel):
    """What a runner tells of its checkpoint for people to see. Unlike their identity, replicas need not agree in it."""

    model_config = ConfigDict(frozen=True)

    name: str
    defaults: Defaults

    @classmethod
    def of(cls, defaults: Defaults, name: str) -> Self:
        """`name` is for a checkpoint that does not say what it is called."""
        return cls(name=defaults.about.name or name, defaults=defaults)
