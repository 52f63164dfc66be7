"""What the values of a request may be: types with their bounds, for requests, defaults and the hand-off alike."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, StringConstraints, WithJsonSchema

MAX_PROMPT_CHARACTERS = 8_000  # of a request's four texts together: JPEG has room for 64 KB of them
MAX_REQUEST_BYTES = 256_000  # as JSON: so many characters, each escaped to 12 bytes, and the rest
MAX_SEED = 2**32 - 1
MAX_STEPS = 150
MIN_SIDE_PX, MAX_SIDE_PX = 64, 8_192

RefineMode = Literal["ensemble", "sdedit", "none"]
EditRefineMode = Literal["ensemble", "none"]
OutputFormat = Literal["png", "jpeg", "webp"]
MaskedContent = Literal["original", "fill", "noise", "nothing"]
PromptSyntax = Literal["plain", "a1111"]


def _as_pair(value: object) -> object:
    """Pairs come as lists in JSON."""
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARACTERS)]
Prompt = Annotated[Text, StringConstraints(min_length=1, pattern=r"\S")]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Side = Annotated[Integer, Field(ge=MIN_SIDE_PX, le=MAX_SIDE_PX, multiple_of=8)]
Steps = Annotated[Integer, Field(ge=1, le=MAX_STEPS)]
Guidance = Annotated[Number, Field(ge=0, le=30)]
Score = Annotated[Number, Field(ge=0, le=10)]
Share = Annotated[Number, Field(ge=0, le=1)]
OpenShare = Annotated[Number, Field(gt=0, lt=1)]  # both ends excluded
Strength = Annotated[Number, Field(gt=0, le=1)]
GuidanceEnd = Annotated[Number, Field(gt=0, le=1)]
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


class StrictModel(BaseModel):
    """Frozen; a field that it does not know is an error. The texts under its fields are their descriptions."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)
