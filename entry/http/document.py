"""The OpenAPI document: BentoML's, with what BentoML does not know of this server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal, get_args

from pydantic import BaseModel

from entry.http.route import FORM, JSON
from sdxl.request.fields import OutputFormat
from sdxl.version import PRODUCT, VERSION

ERRORS = {
    "400": "The request is not what is allowed; the body names the field.",
    "401": "A key is asked for (SDXL_API_KEYS).",
    "404": "There is no such thing.",
    "408": "The body came too slowly.",
    "413": "The body, or a picture in it, is too large.",
    "415": "The body, or a file in it, is of the wrong type.",
    "429": "The queue is full; Retry-After says when to come again.",
    "503": "A stage is not there, or the server is stopping; Retry-After says when to come again.",
    "504": "The request was not done in time.",
}

EXAMPLE = {"prompt": "a red cube on top of a blue sphere, yellow background"}
FILE = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
PICTURE: dict[str, Any] = {
    f"image/{name}": {"schema": {"type": "string", "format": "binary", "contentMediaType": f"image/{name}"}}
    for name in get_args(OutputFormat)
}


class Error(BaseModel):
    """The body of an error."""

    error: str
    code: str
    field: str | None = None
    got: str | None = None


class TaskStatusResponse(BaseModel):
    """What became of a task."""

    task_id: str
    status: Literal["in_progress", "completed", "failed", "canceled"]
    created_at: str | None = None
    executed_at: str | None = None


def document(spec: dict[str, Any], *, has_keys: bool) -> dict[str, Any]:
    """BentoML's document, changed. `has_keys`: whether the server asks for a key.

    BentoML writes down OpenAPI 3.0, but its schemas are pydantic's, which are those of 3.1; it describes errors of
    its own, which the gate does not let come about; and of tasks, it says what is not so. It has a type "file", which
    OpenAPI has not, and says that a form's text fields are JSON: Swagger's page would send each as a file.
    """
    spec = json.loads(json.dumps(spec))  # it has numbers as keys
    spec["openapi"] = "3.1.0"
    spec["info"] = {
        "title": PRODUCT,
        "version": VERSION,
        "description": "Stable Diffusion XL as an ensemble of two experts.",
    }
    schemas = spec["components"]["schemas"]
    schemas.update((model.__name__, model.model_json_schema()) for model in (Error, TaskStatusResponse))
    for name in ("InvalidArgument", "NotFound", "InternalServerError"):
        schemas.pop(name, None)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    errors = {status: {"description": text, "content": content} for status, text in ERRORS.items()}
    if has_keys:
        spec["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
        }
        spec["security"] = [{}, {"bearer": []}, {"basic": []}]  # probes need none
    names: set[str] = set()
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            if "Service APIs" in operation.get("tags", ()):
                operation["responses"] = {"200": operation["responses"]["200"], **errors}
            name = operation.get("operationId")
            if name in names:  # BentoML gives two of a task's routes the same
                operation["operationId"] = f"{name}_{path.rsplit('/', 1)[-1]}"
            elif name:
                names.add(name)
            for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
                _describe_body(media_type, body, schemas)
    for schema in _schemas(spec):
        _describe_value(schema)
    spec["paths"]["/readyz"]["get"]["responses"]["503"] = {"description": "Not ready, and the body says why."}
    return spec


def _describe_body(media_type: str, body: dict[str, Any], schemas: dict[str, Any]) -> None:
    """An example that can be sent as it is, with nothing but what a client must say."""
    schema = body["schema"]
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[-1]]
    fields = schema.get("properties", {})
    if media_type == FORM:
        body.pop("encoding", None)
        for name, field in fields.items():
            if name in EXAMPLE or field.get("type") == "object":
                field["example"] = EXAMPLE.get(name, {})  # else Swagger's page makes one up
    elif media_type == JSON and "prompt" in fields:
        body["example"] = EXAMPLE
    elif media_type == JSON and "requests" in fields:
        body["example"] = {"requests": [EXAMPLE]}


def _schemas(part: Any) -> Iterator[dict[str, Any]]:
    """All objects of the document that may be a schema, the innermost first."""
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _schemas(inner)
    if isinstance(part, dict):
        yield part


def _describe_value(schema: dict[str, Any]) -> None:
    if schema.get("type") == "file":
        title = schema["title"]
        schema.clear()
        schema.update(FILE, title=title)
    if "default" in schema and schema["default"] is None:  # which the field's type mostly does not allow
        del schema["default"]
