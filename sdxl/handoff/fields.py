"""The fields of a hand-off: what the refiner must know to go on, apart from the tensors."""

import json
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import from_json

from sdxl.errors import shorten
from sdxl.request.fields import MAX_STEPS, Guidance, ModelName, Pair, PromptSyntax, Seed, Side, Steps, Strength
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.schedules import ScheduleName
from sdxl.request.shared import SharedFields


class HandOffError(ValueError):
    """A document is not a valid hand-off; each kind of fault is a subclass."""


class MetadataFieldError(HandOffError):
    """A metadata field is missing, unknown or invalid."""


Cutoff = Annotated[int, Field(ge=0, le=1_000)]
StepsDone = Annotated[int, Field(ge=0, le=MAX_STEPS)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class HandOffFields(SharedFields):
    """What the refiner must know to go on, apart from the tensors.

    The bounds are those of a request. The constructor takes typed values and raises pydantic's
    ValidationError for those out of bounds, so that whatever is encoded can be decoded. Pairs are
    (height, width) or (top, left), in pixels, as in diffusers.
    """

    model_config = ConfigDict(strict=True, validate_default=True)

    mode: Literal["ensemble", "sdedit"]
    """ensemble: the refiner goes on where the base stopped; sdedit: it adds noise to the latents first."""
    cutoff: Cutoff | None = None
    """Training timestep at which the base stopped; with mode "ensemble", and only then."""
    strength: Strength | None = None
    """Share of the noise levels that the refiner goes back; with mode "sdedit", and only then."""
    width: Side
    height: Side
    original_size: Pair
    target_size: Pair
    negative_original_size: Pair
    negative_target_size: Pair
    scheduler: SamplerName
    schedule: ScheduleName
    sampler_digest: Digest
    """SHA-256 of the sampler's canonical configuration and its schedule."""
    num_inference_steps: Steps
    """Of the whole picture, both stages together."""
    steps_done: StepsDone
    """So many of them the base has taken; the refiner counts on, for prompts that change with the step."""
    prompt_syntax: PromptSyntax
    """How the prompts are to be read."""
    long_prompts: bool
    """Whether plain prompts may have more than one chunk of 75 tokens."""
    guidance_scale: Guidance
    """The refiner's."""
    seed: Seed
    base_digest: Digest
    """SHA-256 of the base checkpoint."""
    model: ModelName | None = None
    """The refiner's; without one, the refiner stage's default."""

    @field_validator("cutoff", "strength")
    @classmethod
    def _belongs_to_mode(cls, value: float | None, info: ValidationInfo) -> float | None:
        if "mode" not in info.data:  # the mode itself is at fault, and will be named
            return value
        mode = info.data["mode"]
        belongs = (mode == "ensemble") == (info.field_name == "cutoff")
        if belongs != (value is not None):
            raise ValueError(f"{'required' if belongs else 'not allowed'} with mode {mode!r}")
        return value

    @field_validator("schedule")
    @classmethod
    def _belongs_to_sampler(cls, value: ScheduleName, info: ValidationInfo) -> ScheduleName:
        sampler = info.data.get("scheduler")  # if there is none, that is at fault, and will be named
        if sampler is not None and value not in SAMPLERS[sampler].schedules:
            raise ValueError(f"{', '.join(SAMPLERS[sampler].schedules)} with scheduler {sampler!r}")
        return value

    def to_metadata(self) -> dict[str, str]:
        """Return the fields as strings: a text as itself, all else as JSON, an absent field left out."""
        values = self.model_dump(mode="json", exclude_none=True)
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> Self:
        """Read the strings that :meth:`to_metadata` writes.

        Raises MetadataFieldError, which names the first field at fault.
        """
        for name in metadata:  # here rather than by pydantic, which would describe thousands one by one
            if name not in cls.model_fields:
                raise MetadataFieldError(f"hand-off field {shorten(name)}: there is no such field")
        for name, field in cls.model_fields.items():
            if field.default is not None and name not in metadata:  # None is written by leaving it out, all else is not
                raise MetadataFieldError(f"hand-off field {name}: got nothing; the field is required")
        try:
            return cls.model_validate({name: _read(name, text) for name, text in metadata.items()})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise MetadataFieldError(
                f"hand-off field {name}: got {shorten(first['input'])}; allowed: {first['msg']}"
            ) from None


def _read(name: str, text: str) -> Any:
    """A field's value from its string. Raises MetadataFieldError for what is not JSON."""
    if name in _texts():
        return text
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise MetadataFieldError(f"hand-off field {name}: got {shorten(text)}; allowed: JSON ({error})") from None


@cache
def _texts() -> frozenset[str]:
    """The names of the fields that are texts."""
    properties = HandOffFields.model_json_schema()["properties"]
    return frozenset(
        name
        for name, schema in properties.items()
        if "string" in {option.get("type") for option in (schema, *schema.get("anyOf", ()))}
    )
