"""LoRAs that a prompt names, in AUTOMATIC1111's words: `<lora:name:scale>`."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from sdxl.errors import RelayError, invalid_field
from sdxl.request.loras import Loras
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest

_TAG = re.compile(r"<lora:([^>]*)>")
_LORAS: TypeAdapter[Loras] = TypeAdapter(Loras)
Request = TypeVar("Request", GenerationRequest, RefineRequest, EditRequest)


def without_tags(prompt: str) -> tuple[str, Loras]:
    """The prompt as the text encoders get it, and the LoRAs that its tags name. Raises RelayError (400)."""
    found = [_wanted(tag) for tag in _TAG.findall(prompt)]
    text = _TAG.sub("", prompt).strip() if found else prompt
    if not text:
        raise invalid_field("prompt", prompt, "words beside <lora:…>")
    try:
        return text, _LORAS.validate_python(found)
    except ValidationError as error:
        raise _not_allowed(prompt, error) from None


def with_own_loras(request: Request) -> Request:
    """The request with the LoRAs of its prompt's tags beside its own, and the prompt without them.

    Raises RelayError (400), also for a LoRA that is named twice.
    """
    return request.model_copy(update=_beside(request.prompt, request.loras))


def _beside(prompt: str, loras: Loras) -> dict[str, Any]:
    """The prompt without its tags, and their LoRAs beside others."""
    text, own = without_tags(prompt)
    try:
        return {"prompt": text, "loras": _LORAS.validate_python([*(loras or ()), *(own or ())])}
    except ValidationError as error:
        raise _not_allowed(prompt, error) from None


def _not_allowed(prompt: str, error: ValidationError) -> RelayError:
    first = error.errors(include_url=False)[0]
    return invalid_field("prompt", prompt, f"<lora:name:scale> with another value: {first['msg']}")


def _wanted(tag: str) -> dict[str, Any]:
    """As AUTOMATIC1111 reads it: `name:text encoders' scale:UNet's scale`; or `te=` and `unet=`, in any order.

    Without the UNet's scale, it is the text encoders', and without both it is 1.
    """
    name, *others = tag.split(":")
    named = dict(part.split("=", 1) for part in others if "=" in part)
    plain = [part for part in others if "=" not in part]
    try:
        text = float(named.pop("te", plain[0] if plain else 1.0))
        unet = float(named.pop("unet", plain[1] if len(plain) > 1 else text))
    except ValueError:
        named["?"] = ""
    if named or len(plain) > 2:
        allowed = "<lora:name:scale> or <lora:name:scale of the text encoders:scale of the UNet>, with numbers"
        raise invalid_field("prompt", f"<lora:{tag}>", allowed)
    return {"name": name, "scale": unet, **({} if text == unet else {"text_encoder_scale": text})}
