"""The OpenAPI document: BentoML's, with what BentoML does not know of this server."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel

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


def document(spec: dict[str, Any]) -> dict[str, Any]:
    """BentoML's document, changed.

    BentoML writes down OpenAPI 3.0, but its schemas are pydantic's, which are those of 3.1; it describes errors of
    its own, which the gate does not let come about; and of tasks, it says what is not so.
    """
    spec = json.loads(json.dumps(spec))  # it has numbers as keys
    spec["openapi"] = "3.1.0"
    spec["info"] = {
        "title": "SDXL Relay",
        "version": spec["info"]["version"],
        "description": "Stable Diffusion XL as an ensemble of two experts.",
    }
    schemas = spec["components"]["schemas"]
    schemas.update((model.__name__, model.model_json_schema()) for model in (Error, TaskStatusResponse))
    for name in ("InvalidArgument", "NotFound", "InternalServerError"):
        schemas.pop(name, None)
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    errors = {status: {"description": text, "content": content} for status, text in ERRORS.items()}
    spec["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
    }
    spec["security"] = [{}, {"bearer": []}, {"basic": []}]  # none where the server has no keys
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
    spec["paths"]["/readyz"]["get"]["responses"]["503"] = {"description": "Not ready, and the body says why."}
    return spec
