"""The schemas of the OpenAPI document: pydantic's own, which are JSON Schema 2020-12, as OpenAPI 3.1 has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from sdxl.request.fields import OutputFormat

REFS = "#/components/schemas/"
EXAMPLE: dict[str, Any] = {"prompt": "a red cube on top of a blue sphere, yellow background", "seed": 1}
JSON_TEXT = {"type": "string", "contentMediaType": "application/json"}


def binary(media_type: str) -> dict[str, Any]:
    """Of bytes: `contentMediaType` is 3.1's word for it, and generators look for `format`."""
    return {"type": "string", "format": "binary", "contentMediaType": media_type}


FILE = binary("application/octet-stream")
PICTURE: dict[str, Any] = {f"image/{name}": {"schema": binary(f"image/{name}")} for name in get_args(OutputFormat)}
EVENTS = {"text/event-stream": {"schema": {"type": "string"}}}


class Schemas:
    """The components of one document, by name."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self.all = dict(known)

    def answer(self, kind: Any) -> dict[str, Any]:
        """The content of an answer: JSON of this type."""
        return {"application/json": {"schema": self._of(kind, "serialization")}}

    def body(self, model: type[BaseModel]) -> dict[str, Any]:
        """A request's JSON."""
        return self._of(model, "validation")

    def form(self, model: type[BaseModel], files: Mapping[str, bool]) -> dict[str, Any]:
        """A form (multipart/form-data) with these files, each of which is required or not.

        Lists and objects are texts in it: what a form's part with a list looks like is not agreed on by clients.
        """
        schema = model.model_json_schema()
        properties = {name: _as_part(field) for name, field in schema["properties"].items()}
        for name, value in EXAMPLE.items():
            if name in properties:
                properties[name]["example"] = value  # else Swagger's page makes one up
        for name in files:
            properties[name] = {**FILE, "description": f"The {name}: PNG, JPEG or WebP."}
        required = [*schema.get("required", ()), *(name for name, is_required in files.items() if is_required)]
        name = f"{model.__name__}Form"
        self.all[name] = {"type": "object", "title": name, "properties": properties, "required": required}
        if model.__doc__:
            self.all[name]["description"] = model.__doc__
        return {"$ref": f"{REFS}{name}"}

    def used(self, paths: Mapping[str, Any]) -> dict[str, Any]:
        """Those that are referred to, by the paths or by each other."""
        found: dict[str, Any] = {}
        waiting = list(_references(paths))
        while waiting:
            name = waiting.pop().removeprefix(REFS)
            if name not in found:
                found[name] = self.all[name]
                waiting.extend(_references(found[name]))
        return dict(sorted(found.items()))

    def _of(self, kind: Any, mode: Any) -> dict[str, Any]:
        schema = TypeAdapter(kind).json_schema(ref_template=f"{REFS}{{model}}", mode=mode)
        self.all.update(schema.pop("$defs", {}))
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return schema
        self.all[kind.__name__] = schema
        return {"$ref": f"{REFS}{kind.__name__}"}


def objects(part: Any) -> Iterator[dict[str, Any]]:
    """All objects of a document, the innermost first."""
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from objects(inner)
    if isinstance(part, dict):
        yield part


def _references(part: Any) -> Iterator[str]:
    return (each["$ref"] for each in objects(part) if isinstance(each.get("$ref"), str))


def _as_part(field: dict[str, Any]) -> dict[str, Any]:
    """A field of JSON as a form has it."""
    option, *others = (each for each in field.get("anyOf", [field]) if each.get("type") != "null")
    told: dict[str, Any] = {name: field[name] for name in ("title", "description", "default") if name in field}
    if option.get("type") in ("string", "integer", "number", "boolean"):
        return {**({"type": option["type"]} if others else option), **told}
    told.pop("default", None)  # as a text it would be another
    return {**JSON_TEXT, **told}
