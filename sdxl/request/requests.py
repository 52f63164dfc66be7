"""What a client may ask for: the typed requests, and how a checkpoint's defaults settle what was left out.

A request holds what came, None for what was left out. `GenerationRequest.with_defaults` gives a
`Generation`, in which everything is settled; the two are never mixed.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, Strict, field_validator

from sdxl.request.fields import (
    ClipSkip,
    EditRefineMode,
    Guidance,
    GuidanceEnd,
    Integer,
    OpenShare,
    OutputFormat,
    Pair,
    Prompt,
    RefineMode,
    SamplerName,
    Score,
    Seed,
    Share,
    Side,
    Steps,
    Strength,
    StrictModel,
    Text,
)
from sdxl.request.loras import Loras
from sdxl.request.settled import Defaults, Edit, Generation, Refinement


class _Request(StrictModel):
    """The fields that all endpoints have. Pairs are (height, width) or (top, left) in pixels, as in diffusers."""

    prompt: Prompt
    prompt_2: Text | None = None
    negative_prompt: Text | None = None
    negative_prompt_2: Text | None = None
    num_inference_steps: Steps | None = None
    guidance_scale: Guidance | None = None
    guidance_rescale: Share = 0.0
    guidance_end: GuidanceEnd = 1.0
    seed: Seed | None = None
    scheduler: SamplerName | None = None
    strength: Strength | None = None
    aesthetic_score: Score = 6.0
    negative_aesthetic_score: Score = 2.5
    original_size: Pair | None = None
    crops_coords_top_left: Pair = (0, 0)
    target_size: Pair | None = None
    negative_original_size: Pair | None = None
    negative_crops_coords_top_left: Pair = (0, 0)
    negative_target_size: Pair | None = None
    clip_skip: ClipSkip | None = None
    loras: Loras = None
    output_format: OutputFormat = "png"
    quality: Annotated[Integer, Field(ge=1, le=100)] = 90
    watermark: Annotated[bool, Strict()] = True
    metadata: Annotated[bool, Strict()] = True


class GenerationRequest(_Request):
    """A picture from a prompt (`POST /generate`)."""

    width: Side | None = None
    height: Side | None = None
    refiner_guidance_scale: Guidance | None = None
    refine: RefineMode | None = None
    high_noise_frac: OpenShare | None = None

    def with_defaults(self, defaults: Defaults) -> Generation:
        """Settles what was left out; the seed must have been drawn (else pydantic's ValidationError).

        `guidance_scale` counts for both stages unless the refiner's is given.
        """
        own = defaults.of((*_OF_BOTH_STAGES, "width", "height", "refine", "strength"))
        return Generation.model_validate({**own, **_given_to_both(self)})


class StreamRequest(GenerationRequest):
    """A picture from a prompt, with what is to be told meanwhile (`POST /generate_stream`)."""

    previews: Annotated[Integer, Field(ge=0, le=20)] = 0

    @property
    def generation(self) -> GenerationRequest:
        """The request itself."""
        return GenerationRequest.model_validate(self.model_dump(exclude={"previews"}))


class _FormRequest(_Request):
    """A request that comes as a form, for a file comes with it."""

    @field_validator("prompt", "prompt_2", "negative_prompt", "negative_prompt_2", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        """Gives back the text that BentoML has read as JSON in a form's field: a prompt may be `123`."""
        return str(value) if isinstance(value, int | float) else value


class RefineRequest(_FormRequest):
    """A better picture from a picture (`POST /refine`), whose file comes in a field of its own."""

    def with_defaults(self, defaults: Defaults) -> Refinement:
        """Settles what was left out; guidance falls back to the checkpoint's guidance for the refiner."""
        values = self.model_dump(exclude_none=True, exclude=_PICTURE_FIELDS)
        own = {name: getattr(defaults, name) for name in ("num_inference_steps", "scheduler", "strength")}
        guidance = {"guidance_scale": defaults.for_refiner}
        return Refinement.model_validate({**own, **guidance, **values})


class EditRequest(_FormRequest):
    """A picture changed by a prompt (`POST /edit`); its file, and a mask's, come in fields of their own."""

    refiner_guidance_scale: Guidance | None = None
    refine: EditRefineMode | None = None
    high_noise_frac: OpenShare | None = None
    paste_original: Annotated[bool, Strict()] = True

    def with_defaults(self, defaults: Defaults, *, has_mask: bool) -> Edit:
        """Settles what was left out, as `GenerationRequest.with_defaults` does."""
        own = {
            "strength": defaults.inpaint_strength if has_mask else defaults.edit_strength,
            "refine": "none" if defaults.refine == "none" else "ensemble",
            "num_inference_steps": defaults.edit_steps or defaults.num_inference_steps,
        }
        return Edit.model_validate({**defaults.of(_OF_BOTH_STAGES), **own, **_given_to_both(self)})


PictureRequest = GenerationRequest | RefineRequest | EditRequest
_PICTURE_FIELDS = {"output_format", "quality", "watermark", "metadata", "paste_original"}  # for the entry service alone
_OF_BOTH_STAGES = ("num_inference_steps", "guidance_scale", "refiner_guidance_scale", "scheduler", "high_noise_frac")


def _given_to_both(request: GenerationRequest | EditRequest) -> dict[str, object]:
    values = request.model_dump(exclude_none=True, exclude=_PICTURE_FIELDS)
    if request.guidance_scale is not None:
        values.setdefault("refiner_guidance_scale", request.guidance_scale)
    return values
