"""An edit's form, as OpenAI's clients write it."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.datastructures import FormData, UploadFile

from entry.http.route import check_file
from entry.http.schemas import Schemas
from entry.openai.requests import ImageEdit
from sdxl.errors import invalid_field

IMAGE_FIELDS = ("image", "image[]")
MAX_IMAGES = 16  # as many as OpenAI takes
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
    """The first picture and the mask of a form that `form_fields` has checked."""
    (image, *_), masks = _parts(form, *IMAGE_FIELDS), _parts(form, "mask")
    return await image.read(), await masks[0].read() if masks else None


def left_out(form: FormData) -> dict[str, str]:
    """The warning of a form with more pictures than the one that is edited."""
    others = [part.filename or "a file without a name" for part in _parts(form, *IMAGE_FIELDS)[1:]]
    return {"image": f"ignored: {', '.join(others)}; only the first picture is edited"} if others else {}


def _parts(form: FormData, *names: str) -> list[UploadFile]:
    """The files of these fields, in the order of their coming."""
    return [part for name, part in form.multi_items() if name in names and isinstance(part, UploadFile)]


def edit_form_schema() -> dict[str, Any]:
    """OpenAPI's description of an edit's form. Further pictures have the name image[]."""
    schemas = Schemas({})
    schemas.form(ImageEdit, {"image": True, "mask": False})
    (schema,) = schemas.all.values()
    return schema


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_files(form: FormData) -> None:
    images = [part for name, part in form.multi_items() if name in IMAGE_FIELDS]
    if not 1 <= len(images) <= MAX_IMAGES or not all(isinstance(part, UploadFile) for part in images):
        got = [part.filename if isinstance(part, UploadFile) else part for part in images]
        raise invalid_field("image", got, f"1 to {MAX_IMAGES} pictures as files: PNG, JPEG or WebP")
    check_file("mask", form.getlist("mask"), is_required=False)
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name not in (*IMAGE_FIELDS, "mask"):
            raise invalid_field(name, value.filename, "no file; the files are image and mask")
