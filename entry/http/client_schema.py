"""What BentoML's Python client asks at its start (/schema.json): with what `help(client.generate)` is to say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def client_schema(schema: Mapping[str, Any], docs: Mapping[str, str | None]) -> dict[str, Any]:
    """BentoML's own, with each method's documentation from `docs` as `doc`, where the client looks for it.

    BentoML 1.4.39 writes down that of a class of its own, and by another name. The client's methods take anything
    (`*args, **kwargs`), so the fields are told in the text.
    """
    routes = [{**route, "doc": _doc(docs[route["name"]] or "", route["input"])} for route in schema["routes"]]
    return {**schema, "routes": routes}


def _doc(text: str, fields: Mapping[str, Any]) -> str:
    required = fields.get("required", ())
    lines = [text, "", "Fields:"]
    for name, field in fields["properties"].items():
        about = field.get("description") or field.get("title", "")
        lines.append(f"    {name} ({field.get('type', 'any')}{', required' if name in required else ''}): {about}")
    return "\n".join(lines)
