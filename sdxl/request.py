"""What a client may ask for: the typed requests, their bounds, and the checkpoint's defaults for what is left out.

A request holds what came, None for what was left out. `GenerationRequest.with_defaults` gives a
`Generation`, in which everything is settled; the two are never mixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

MAX_PROMPT_CHARACTERS = 2_000
MAX_REQUEST_BYTES = 256_000  # as JSON: four texts of 2,000 characters, each escaped to 12 bytes, and the rest
MAX_SEED = 2**32 - 1
MIN_SIDE_PX, MAX_SIDE_PX = 64, 8_192

SamplerName = Literal[
    "euler", "euler_ancestral", "heun", "ddim", "pndm", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde",
    "unipc", "deis", "lcm",
]  # fmt: skip
RefineMode = Literal["ensemble", "sdedit", "none"]
EditRefineMode = Literal["ensemble", "none"]
OutputFormat = Literal["png", "jpeg", "webp"]


def _as_pair(value: object) -> object:
    """Pairs come as lists in JSON."""
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARACTERS)]
Prompt = Annotated[Text, StringConstraints(min_length=1, pattern=r"\S")]
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Side = Annotated[Integer, Field(ge=MIN_SIDE_PX, le=MAX_SIDE_PX, multiple_of=8)]
Steps = Annotated[Integer, Field(ge=1, le=150)]
Guidance = Annotated[Number, Field(ge=0, le=30)]
Score = Annotated[Number, Field(ge=0, le=10)]
Share = Annotated[Number, Field(ge=0, le=1)]
OpenShare = Annotated[Number, Field(gt=0, lt=1)]  # both ends excluded
Strength = Annotated[Number, Field(gt=0, le=1)]
Pixels = Annotated[Integer, Field(ge=0, le=65_504)]  # the largest half-precision number
# BentoML's client wants `items` of every array, which pydantic's own schema of a tuple does not have.
PAIR_SCHEMA = {
    "type": "array",
    "items": {"type": "integer", "minimum": 0, "maximum": 65_504},
    "minItems": 2,
    "maxItems": 2,
}
Pair = Annotated[tuple[Pixels, Pixels], BeforeValidator(_as_pair), WithJsonSchema(PAIR_SCHEMA)]
Seed = Annotated[Integer, Field(ge=0, le=MAX_SEED)]
ClipSkip = Annotated[Integer, Field(ge=0, le=31)]  # the checkpoint's own depth is checked by the runners


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Request(_Model):
    """The fields that all endpoints have. Pairs are (height, width) or (top, left) in pixels, as in diffusers."""

    prompt: Prompt
    prompt_2: Text | None = None
    negative_prompt: Text | None = None
    negative_prompt_2: Text | None = None
    num_inference_steps: Steps | None = None
    guidance_scale: Guidance | None = None
    guidance_rescale: Share = 0.0
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


class _Settled(_Model):
    prompt: str
    prompt_2: str | None = None
    negative_prompt: str | None = None
    negative_prompt_2: str | None = None
    num_inference_steps: int
    guidance_scale: float
    guidance_rescale: float
    seed: int
    scheduler: SamplerName
    strength: float
    aesthetic_score: float
    negative_aesthetic_score: float
    original_size: Pair | None = None
    crops_coords_top_left: Pair
    target_size: Pair | None = None
    negative_original_size: Pair | None = None
    negative_crops_coords_top_left: Pair
    negative_target_size: Pair | None = None
    clip_skip: int | None = None


class _OfBothStages(_Settled):
    """Without an original or target size, the picture's own counts."""

    refiner_guidance_scale: float
    high_noise_frac: float

    @model_validator(mode="before")
    @classmethod
    def _one_guidance_for_both(cls, values: dict[str, object]) -> dict[str, object]:
        return {"refiner_guidance_scale": values["guidance_scale"], **values}


class Generation(_OfBothStages):
    """A `GenerationRequest` with nothing left open."""

    width: int
    height: int
    refine: RefineMode


class Edit(_OfBothStages):
    """An `EditRequest` with nothing left open."""

    refine: EditRefineMode


class Refinement(_Settled):
    """A `RefineRequest` with nothing left open."""


class Defaults(_Model):
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
    edit_strength: Strength = 0.8
    inpaint_strength: Strength = 0.9999
    """Of an edit with a mask. At 1, diffusers begins with pure noise instead of noise over the original."""

    @property
    def for_refiner(self) -> float:
        """The guidance scale of the refiner stage."""
        return self.guidance_scale if self.refiner_guidance_scale is None else self.refiner_guidance_scale

    def of(self, fields: Iterable[str]) -> dict[str, object]:
        """Those of the fields that have a value."""
        return self.model_dump(exclude_none=True, include=set(fields))

    def of_size(self, side_px: int) -> Self:
        """These defaults for a checkpoint whose native size is a square of `side_px`."""
        return self.model_copy(update={"width": side_px, "height": side_px})
