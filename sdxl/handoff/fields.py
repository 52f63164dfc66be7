"""The fields of a hand-off: what the refiner must know to go on, apart from the tensors."""

import json
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import from_json

from sdxl.errors import shorten
from sdxl.request.fields import (
    ClipSkip,
    Guidance,
    GuidanceEnd,
    Pair,
    Prompt,
    SamplerName,
    Score,
    Seed,
    Share,
    Side,
    Steps,
    Strength,
    Text,
)
from sdxl.request.loras import Loras


class HandOffError(ValueError):
    """A document is not a valid hand-off; each kind of fault is a subclass."""


class MetadataFieldError(HandOffError):
    """A metadata field is missing, unknown or invalid."""


def _from_json_text(value: object) -> object:
    """Read a metadata string; a value that Python code passes to the constructor stays as it is."""
    return from_json(value, allow_inf_nan=False) if isinstance(value, str) else value


_JSON = BeforeValidator(_from_json_text)
_Cutoff = Annotated[int, Field(ge=0, le=1_000)]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class HandOffFields(BaseModel):
    """What the refiner must know to go on, apart from the tensors.

    The bounds are those of a request. The constructor takes typed values and raises pydantic's
    ValidationError for those out of bounds, so that whatever is encoded can be decoded. Pairs are
    (height, width) or (top, left), in pixels, as in diffusers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    mode: Literal["ensemble", "sdedit"]
    cutoff: Annotated[_Cutoff | None, _JSON] = None
    """Training timestep at which the base stopped; with mode "ensemble", and only then."""
    strength: Annotated[Strength | None, _JSON] = None
    """Share of the noise levels that the refiner goes back; with mode "sdedit", and only then."""

    prompt: Prompt
    prompt_2: Text | None = None
    negative_prompt: Text | None = None
    negative_prompt_2: Text | None = None
    clip_skip: Annotated[ClipSkip | None, _JSON] = None

    width: Annotated[Side, _JSON]
    height: Annotated[Side, _JSON]
    original_size: Annotated[Pair, _JSON]
    crops_coords_top_left: Annotated[Pair, _JSON]
    target_size: Annotated[Pair, _JSON]
    negative_original_size: Annotated[Pair, _JSON]
    negative_crops_coords_top_left: Annotated[Pair, _JSON]
    negative_target_size: Annotated[Pair, _JSON]
    aesthetic_score: Annotated[Score, _JSON]
    negative_aesthetic_score: Annotated[Score, _JSON]

    scheduler: SamplerName
    sampler_digest: _Digest
    """SHA-256 of the sampler's canonical configuration."""
    num_inference_steps: Annotated[Steps, _JSON]
    guidance_scale: Annotated[Guidance, _JSON]
    guidance_rescale: Annotated[Share, _JSON]
    guidance_end: Annotated[GuidanceEnd, _JSON]
    """Share of num_inference_steps, counted from noise, after which there is no guidance."""
    seed: Annotated[Seed, _JSON]
    loras: Annotated[Loras, _JSON] = None
    """Those of the request; the refiner applies which it has."""
    base_digest: _Digest
    """Digest of the base checkpoint."""

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
        try:
            return cls.model_validate(metadata)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(map(str, first["loc"]))
            got = "nothing" if first["type"] == "missing" else shorten(first["input"])
            raise MetadataFieldError(f"hand-off field {name}: got {got}; allowed: {first['msg']}") from None
