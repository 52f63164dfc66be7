"""The OpenAPI document: BentoML's, with what BentoML does not know of this server."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

from entry.http.route import JSON, Route
from entry.http.schemas import EXAMPLE, REFS, Schemas, objects
from sdxl.version import PRODUCT, VERSION

INFO = {
    "title": PRODUCT,
    "version": VERSION,
    "description": "Stable Diffusion XL as an ensemble of two experts.",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
}
CONTRACTS = [
    {"name": "OpenAI", "description": "OpenAI's Images API."},
    {"name": "AUTOMATIC1111", "description": "The part of AUTOMATIC1111's API that makes pictures."},
]

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

TASKS = {
    "status": "Says what has become of a task.",
    "get": "The picture of a task that is completed, or what it was answered in its place.",
    "submit": "Takes a request for a picture in and answers at once: the picture can be fetched later.",
    "retry": "Starts a task again.",
    "cancel": "Ends a task, and frees its rows at once.",
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


def document(
    spec: dict[str, Any], mounted: dict[str, Any], routes: Mapping[str, Route], *, has_keys: bool
) -> dict[str, Any]:
    """BentoML's document, changed; `mounted` is FastAPI's, and `has_keys` says whether the server asks for a key.

    BentoML writes down OpenAPI 3.0 with pieces of 3.1, and loses much of pydantic's schemas and of FastAPI's on the
    way; it has a type "file", which OpenAPI has not; it describes errors of its own, which the gate does not let come
    about; and of tasks, it says what is not so. So what bodies and answers are is told by `routes`, which the gate
    checks them by.
    """
    paths = json.loads(json.dumps(spec["paths"]))  # it has numbers as keys
    paths.update(mounted["paths"])
    schemas = Schemas(mounted.get("components", {}).get("schemas", {}))
    errors = {status: {"description": text, "content": schemas.answer(Error)} for status, text in ERRORS.items()}
    for path, operations in paths.items():
        for operation in operations.values():
            if "Service APIs" in operation["tags"]:
                _describe(operation, path, routes, schemas)
                operation["responses"] |= errors
            elif path not in mounted["paths"]:
                _describe_probe(operation, path)
            body = operation.get("requestBody", {}).get("content", {}).get(JSON)
            if body:
                _give_example(body, schemas)
    for part in objects([paths, schemas.all]):
        if "default" in part and part["default"] is None:  # as left out
            del part["default"]
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": spec["servers"],
        "tags": [*spec["tags"], *CONTRACTS],
        **({"security": [{}, *({name: []} for name in SECURITY)]} if has_keys else {}),  # probes need none
        "paths": paths,
        "components": {
            "schemas": schemas.used(paths),
            **({"securitySchemes": SECURITY} if has_keys else {}),
        },
    }


def _describe(operation: dict[str, Any], path: str, routes: Mapping[str, Route], schemas: Schemas) -> None:
    """An operation of our own endpoints."""
    operation["operationId"] = path.strip("/").replace("/", "_")
    made, _, of_task = path[1:].partition("/")
    route = routes.get(path) or routes[f"/{made}"]
    if of_task:
        operation["description"] = TASKS[of_task]
    operation["summary"] = operation["description"].split(". ")[0].partition(":")[0].rstrip(".")
    told = schemas.answer(TaskStatusResponse)
    is_status = of_task not in ("", "get")
    operation["responses"] = (
        {"200": {"description": "What has become of the task", "content": told}}
        if is_status
        else {
            str(status): {"description": each.description, "content": each.content or schemas.answer(each.kind)}
            for status, each in route.answers.items()
        }
    )
    if "requestBody" in operation:
        operation["requestBody"] = {"required": True, "content": {route.media_type: _body(route, schemas)}}


def _body(route: Route, schemas: Schemas) -> dict[str, Any]:
    model = route.described or route.model
    assert model is not None
    if route.media_type == JSON:
        return {"schema": schemas.body(model)}
    return {"schema": schemas.form(model, route.files)}


def _describe_probe(operation: dict[str, Any], path: str) -> None:
    operation["operationId"] = path.strip("/")
    operation["description"] = re.sub(r"</?(code|b)>", "", operation["description"])
    content: dict[str, Any] = {"text/plain": {"schema": {"type": "string"}}}
    if path == "/readyz":
        content = {JSON: {"schema": {"type": "object", "additionalProperties": True}}}
        operation["responses"]["503"] = {"description": "Not ready, and the body says why.", "content": content}
    operation["responses"]["200"] |= {"content": content}


def _give_example(body: dict[str, Any], schemas: Schemas) -> None:
    """One that can be sent as it is, with little but what a client must say."""
    schema = body["schema"]
    fields = schemas.all[schema["$ref"].removeprefix(REFS)]["properties"] if "$ref" in schema else {}
    if "prompt" in fields:
        body["example"] = EXAMPLE
    elif "requests" in fields:
        body["example"] = {"requests": [EXAMPLE]}
