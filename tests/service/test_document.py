"""The OpenAPI document: valid, complete, and with what people and generators need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from entry.http.schemas import REFS, objects
from sdxl.version import VERSION
from tests.conftest import KEYS
from tests.service.server import Server
from tests.service.test_refine import a_picture, as_png

PICTURE = {"image": ("a.png", as_png(a_picture()), "image/png")}


@pytest.fixture(scope="module")
def document(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{server.url}/docs.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def schema_of(document: dict[str, Any], path: str, media_type: str = "application/json") -> dict[str, Any]:
    """A body's schema."""
    content = document["paths"][path]["post"]["requestBody"]["content"]
    assert list(content) == [media_type]
    found: dict[str, Any] = document["components"]["schemas"][content[media_type]["schema"]["$ref"].removeprefix(REFS)]
    return found


def test_it_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []


def test_it_is_valid_with_keys(guarded_server: Server) -> None:
    document = httpx.get(f"{guarded_server.url}/docs.json", headers={"authorization": f"Bearer {KEYS[0]}"}).json()
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["security"] == [{}, {"bearer": []}, {"basic": []}]


def test_it_says_whose_it_is(document: dict[str, Any]) -> None:
    assert (document["info"]["title"], document["info"]["version"]) == ("SDXL Relay", VERSION)
    assert document["info"]["description"]


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name, operation in operations(document):
        assert operation["description"], name
        assert operation["responses"]["200"]["content"], name
        for body in operation.get("requestBody", {}).get("content", {}).values():
            assert body["schema"], name


def test_no_type_is_made_up(document: dict[str, Any]) -> None:
    types = {"string", "integer", "number", "boolean", "array", "object", "null"}
    found = {each["type"] for each in objects(document["components"]) if isinstance(each.get("type"), str)}
    assert found <= types | {"http"}  # of the security schemes


def test_examples_are_valid_and_work(document: dict[str, Any], server: Server) -> None:
    for path in ("/generate", "/generate_stream", "/generate/submit", "/v1/images/generations", "/generate_batch"):
        example = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"]
        resolved = {**schema_of(document, path), "components": document["components"]}
        Draft202012Validator(resolved).validate(example)
        assert server.post(path, json=example).status_code == 200, path


@pytest.mark.parametrize("path", ["/refine", "/edit", "/refine_stream", "/edit_stream"])
def test_forms_have_files_and_texts(document: dict[str, Any], server: Server, path: str) -> None:
    fields = schema_of(document, path, "multipart/form-data")["properties"]
    assert fields["image"]["format"] == "binary"
    assert fields["original_size"]["type"] == fields["loras"]["type"] == "string"
    assert fields["n"]["minimum"] == 1
    texts = {"original_size": "128,128", "target_size": "[128, 128]", "loras": "[]", "num_inference_steps": "8"}
    answer = server.post(path, data={"prompt": fields["prompt"]["example"], **texts}, files=PICTURE)
    assert answer.status_code == 200, answer.text


def test_a_file_is_asked_for(document: dict[str, Any]) -> None:
    assert schema_of(document, "/edit", "multipart/form-data")["required"] == ["prompt", "image"]
    assert schema_of(document, "/provenance", "multipart/form-data")["required"] == ["image"]
