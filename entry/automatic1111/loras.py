"""AUTOMATIC1111's words for LoRAs: `<lora:name:scale>` in the prompt."""

from __future__ import annotations

import re
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sdxl.errors import invalid_field
from sdxl.request.loras import Loras

_TAG = re.compile(r"<lora:([^>]*)>")
_LORAS: TypeAdapter[Loras] = TypeAdapter(Loras)


def without_tags(prompt: str) -> tuple[str, Loras]:
    """The prompt as the text encoders get it, and the LoRAs that its tags name. Raises RelayError (400)."""
    found = [_wanted(tag) for tag in _TAG.findall(prompt)]
    text = _TAG.sub("", prompt).strip() if found else prompt
    if not text:
        raise invalid_field("prompt", prompt, "words beside <lora:…>")
    try:
        return text, _LORAS.validate_python(found)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise invalid_field("prompt", prompt, f"<lora:name:scale> with another value: {first['msg']}") from None


def _wanted(tag: str) -> dict[str, Any]:
    name, *scales = tag.split(":")
    try:
        numbers = [float(scale) for scale in scales]
    except ValueError:
        numbers = []
    if len(numbers) != len(scales) or len(set(numbers)) > 1:
        allowed = "<lora:name:scale>, with one number as the scale for text encoders and UNet alike"
        raise invalid_field("prompt", f"<lora:{tag}>", allowed)
    return {"name": name, **({"scale": numbers[0]} if numbers else {})}
