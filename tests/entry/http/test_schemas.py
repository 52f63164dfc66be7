"""The schemas of the OpenAPI document."""

from __future__ import annotations

from typing import Any

from entry.http.schemas import JSON_TEXT, REFS, Schemas, objects
from entry.results import PictureResult
from sdxl.request.asked import EditPictures, GeneratePictures


def test_a_body_is_pydantics_schema() -> None:
    schemas = Schemas({})
    assert schemas.body(GeneratePictures) == {"$ref": f"{REFS}GeneratePictures"}
    own = schemas.all["GeneratePictures"]
    assert own["additionalProperties"] is False
    assert own["properties"]["n"] == {**own["properties"]["n"], "minimum": 1, "maximum": 16, "default": 1}


def test_an_answer_is_what_is_written() -> None:
    """A field with a default is always there."""
    schemas = Schemas({})
    assert schemas.answer(list[PictureResult])["application/json"]["schema"]["type"] == "array"
    assert "seed" in schemas.all["PictureResult"]["properties"]


def test_a_form_has_texts_in_place_of_lists() -> None:
    schemas = Schemas({})
    assert schemas.form(EditPictures, {"image": True, "mask": False}) == {"$ref": f"{REFS}EditPicturesForm"}
    form = schemas.all["EditPicturesForm"]
    fields: dict[str, Any] = form["properties"]
    assert form["required"] == ["prompt", "image"]
    assert {"anyOf", "$ref"}.isdisjoint(key for part in objects(fields) for key in part)
    assert fields["loras"]["contentMediaType"] == fields["original_size"]["contentMediaType"] == "application/json"
    assert fields["crops_coords_top_left"].keys() == {*JSON_TEXT, "title", "description"}
    assert fields["strength"]["exclusiveMinimum"] == 0
    assert fields["watermark"] == {**fields["watermark"], "type": "boolean", "default": True}


def test_only_what_is_used_is_kept() -> None:
    schemas = Schemas({"A": {"$ref": f"{REFS}B"}, "B": {"type": "string"}, "C": {}})
    assert schemas.used({"/a": {"get": {"schema": {"$ref": f"{REFS}A"}}}}) == {
        "A": {"$ref": f"{REFS}B"},
        "B": {"type": "string"},
    }
