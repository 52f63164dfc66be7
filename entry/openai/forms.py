"""An edit's form, as OpenAI's clients write it."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.datastructures import FormData, UploadFile

from entry.http.route import check_file
from entry.openai.requests import ImageEdit
from sdxl.errors import invalid_field

IMAGE_FIELDS = ("image", "image[]")
NOT_TEXT = ("n", "output_compression", "stream", "partial_images", "num_inference_steps", "guidance_scale", "seed",
            "strength", "refiner", "long_prompts")  # fmt: skip


def form_fields(form: FormData) -> dict[str, Any]:
    """The text fields of an edit's form: numbers and objects as JSON, or refiner[refine] as OpenAI's client has it."""
    _check_files(form)
    fields: dict[str, Any] = {}
    refiner: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            continue
        if inner := re.fullmatch(r"refiner\[(\w+)\]", name):
            refiner[inner[1]] = _value(value)
        else:
            fields[name] = _value(value) if name in NOT_TEXT else value
    if refiner and "refiner" in fields:
        raise invalid_field("refiner", fields["refiner"], "one object, in one of the two ways to write it")
    return {**fields, "refiner": refiner} if refiner else fields


async def form_files(form: FormData) -> tuple[bytes, bytes | None]:
    """The picture and the mask of a form that `form_fields` has checked."""
    found = [part for name in (*IMAGE_FIELDS, "mask") for part in form.getlist(name) if isinstance(part, UploadFile)]
    image, mask, *_ = [await file.read() for file in found] + [None]
    assert image is not None
    return image, mask


def edit_form_schema() -> dict[str, Any]:
    """OpenAPI's description of an edit's form."""
    schema = ImageEdit.model_json_schema()
    nested = schema.pop("$defs")
    schema["properties"]["refiner"] = nested["EditRefiner"]
    for name in ("image", "mask"):
        schema["properties"][name] = {"type": "string", "format": "binary"}
    schema["required"] = [*schema["required"], "image"]
    return schema


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_files(form: FormData) -> None:
    check_file("image", [part for name in IMAGE_FIELDS for part in form.getlist(name)], is_required=True)
    check_file("mask", form.getlist("mask"), is_required=False)
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name not in (*IMAGE_FIELDS, "mask"):
            raise invalid_field(name, value.filename, "no file; the files are image and mask")
