"""Bodies that are read as forgivingly as AUTOMATIC1111 reads them: unknown fields, numbers as text, empty fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sdxl.request.fields import MIN_SIDE_PX, Guidance, Integer, Side, Steps


def as_number(value: object) -> object:
    """A number that came as text, or whole but with a point; everything else as it is."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_side(value: object) -> object:
    """In whole latent pixels, as AUTOMATIC1111 makes pictures of other sizes."""
    value = as_number(value)
    return value // 8 * 8 if isinstance(value, int) and value >= MIN_SIDE_PX else value


NUMBER = BeforeValidator(as_number)
Whole = Annotated[Integer, NUMBER]
LenientSteps = Annotated[Steps, NUMBER]
LenientGuidance = Annotated[Guidance, NUMBER]
LenientSide = Annotated[Side, BeforeValidator(_as_side)]
Portion = Annotated[float, Field(ge=0, le=1)]


class Forgiving(BaseModel):
    """Fields that it does not know are kept in `model_extra`; null and an empty text count as left out."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, values: object) -> object:
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None and value != ""}

    @property
    def unknown(self) -> Mapping[str, Any]:
        """The fields that it does not know."""
        return self.model_extra or {}
