"""Which LoRAs a request asks for, how strongly, and what became of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from sdxl.request.fields import Number, StrictModel

MAX_LORAS = 8
# It goes into lists, and into AUTOMATIC1111's <lora:name:scale>; no characters that end lines, or control them.
LORA_NAME = r"[^<>:,\x00-\x1f\x7f-\x9f\u2028\u2029]{1,200}"
MIN_SCALE, MAX_SCALE = -4, 4

LoraName = Annotated[str, StringConstraints(pattern=rf"^{LORA_NAME}$")]


def _lora_files(value: object) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for item in str(value or "").split(","):
        if not item.strip():
            continue
        name, _, path = item.strip().partition("=")
        if not re.fullmatch(LORA_NAME, name) or not path.endswith(".safetensors"):
            raise ValueError(f"{item.strip()} is not like name=path.safetensors, with a name without < > : ,")
        if name in files:
            raise ValueError(f"there are two LoRAs of the name {name}")
        files[name] = Path(path)
    return files


LoraFiles = Annotated[dict[str, Path], BeforeValidator(_lora_files)]
"""What the settings have: `name=path.safetensors`, separated by commas."""


Scale = Annotated[Number, Field(ge=MIN_SCALE, le=MAX_SCALE)]


class Lora(StrictModel):
    """A LoRA by its name, with the factor that its change to the weights is multiplied by."""

    name: LoraName
    scale: Scale = 1.0
    """The UNet's, and without another the text encoders' too."""
    text_encoder_scale: Scale | None = None
    """The text encoders'; without it, `scale`."""

    @property
    def scales(self) -> tuple[float, float]:
        """The UNet's and the text encoders'."""
        return self.scale, self.scale if self.text_encoder_scale is None else self.text_encoder_scale


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _checked(loras: tuple[Lora, ...] | None) -> tuple[Lora, ...] | None:
    names = [lora.name for lora in loras or ()]
    if len(set(names)) < len(names):
        raise ValueError(f"each name once; {max(names, key=names.count)} came {max(map(names.count, names))} times")
    return loras or None


# BentoML's client wants `items` of every array, and BentoML's document has no place for a reference in them.
LORAS_SCHEMA = {
    "anyOf": [
        {
            "type": "array",
            "maxItems": MAX_LORAS,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string", "pattern": f"^{LORA_NAME}$"},
                    "scale": {"type": "number", "minimum": MIN_SCALE, "maximum": MAX_SCALE, "default": 1.0},
                    "text_encoder_scale": {
                        "anyOf": [{"type": "number", "minimum": MIN_SCALE, "maximum": MAX_SCALE}, {"type": "null"}],
                        "default": None,
                    },
                },
                "required": ["name"],
                "additionalProperties": False,
            },
        },
        {"type": "null"},
    ],
    "default": None,
}
Loras = Annotated[
    Annotated[tuple[Lora, ...], Field(max_length=MAX_LORAS)] | None,
    BeforeValidator(_as_tuple),
    AfterValidator(_checked),
    WithJsonSchema(LORAS_SCHEMA),
]
"""None, also for an empty list, is none at all."""


def scale_text(lora: Lora) -> str:
    """As AUTOMATIC1111 has it in a tag: one number, or the text encoders' and the UNet's."""
    unet, text = lora.scales
    return f"{unet:g}" if unet == text else f"{text:g}:{unet:g}"


def applied_text(loras: Iterable[Lora], by_stage: Mapping[str, Iterable[str]]) -> str:
    """What the header X-Loras says: `offset=0.8 (base), style=1 (base + refiner)`; `by_stage` has who applied which."""
    told = []
    for lora in loras:
        stages = [stage for stage, names in by_stage.items() if lora.name in names]
        told.append(f"{lora.name}={scale_text(lora)} ({' + '.join(stages) or 'nowhere'})")
    return ", ".join(told)
