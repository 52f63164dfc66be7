"""What a field of the request may be, for people."""

from __future__ import annotations

from typing import Any

from sdxl.request.requests import GenerationRequest

PROPERTIES: dict[str, dict[str, Any]] = GenerationRequest.model_json_schema()["properties"]


def bounds(field: str) -> str:
    """A number's, as in "64 to 8,192, in steps of 8" or "above 0, below 1"."""
    schema = PROPERTIES[field]
    schema = {**schema, **schema.get("anyOf", [{}])[0]}
    if "exclusiveMinimum" in schema:
        least = f"above {schema['exclusiveMinimum']:,}, "
        most = f"below {schema['exclusiveMaximum']:,}" if "exclusiveMaximum" in schema else f"to {schema['maximum']:,}"
    else:
        least, most = f"{schema['minimum']:,}", f" to {schema['maximum']:,}"
    multiple = f", multiples of {schema['multipleOf']}" if "multipleOf" in schema else ""
    return f"{least}{most}{multiple}"
