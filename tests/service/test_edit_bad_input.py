"""Bad forms for `/edit`: each names the field, what came and what is allowed."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from PIL import Image

from sdxl.request.requests import EditRequest
from tests.service.server import Server
from tests.service.test_bad_input import BAD_UPLOADS, assert_names
from tests.service.test_edit import a_mask
from tests.service.test_refine import a_picture, as_png

FORM = {"prompt": "a green cone, white background", "num_inference_steps": "6", "seed": "1"}
PICTURE, MASK = as_png(a_picture()), as_png(a_mask())


def send(server: Server, image: bytes = PICTURE, mask: bytes | None = MASK, **fields: Any) -> httpx.Response:
    files = [("image", ("a.png", image, "image/png"))]
    if mask is not None:
        files.append(("mask", ("m.png", mask, "image/png")))
    return server.post("/edit", data={**FORM, **fields}, files=files)


@pytest.mark.parametrize(("field", "value"), [
    ("prompt", ""), ("strength", "0"), ("strength", "2"), ("refine", "sdedit"), ("high_noise_frac", "1"),
    ("refiner_guidance_scale", "31"), ("paste_original", "perhaps"), ("width", "128"), ("clip_skip", "3"),
    ("num_inference_steps", "many"), ("a_new_field", "1"),
])  # fmt: skip
def test_a_bad_field_is_named(server: Server, field: str, value: str) -> None:
    changes: dict[str, Any] = {field: value}
    assert_names(send(server, **changes), field)


@pytest.mark.parametrize(("upload", "status"), BAD_UPLOADS.values(), ids=BAD_UPLOADS)
@pytest.mark.parametrize("field", ["image", "mask"])
def test_a_bad_upload(server: Server, field: str, upload: bytes, status: int) -> None:
    changes: dict[str, Any] = {field: upload}
    response = send(server, **changes)
    assert response.status_code == status, response.text[:500]
    assert response.json()["field"] in (field, "body")


def test_files_that_are_too_large_together(server: Server) -> None:
    padded = [each + b"\0" * 12_000_000 for each in (PICTURE, MASK)]
    assert_names(send(server, *padded), "body", status=413)


@pytest.mark.parametrize("size", [(128, 128), (64, 56), (256, 256)])
def test_a_mask_of_another_size(server: Server, size: tuple[int, int]) -> None:
    response = send(server, mask=as_png(a_mask(*size)))
    assert_names(response, "mask")
    assert f"{size[0]} x {size[1]}" in response.text
    assert "64 x 64" in response.text


def test_a_picture_of_too_long_a_side(server: Server) -> None:
    assert_names(send(server, as_png(Image.new("RGB", (8_200, 64))), mask=None), "image")


def test_a_mask_that_repaints_nothing(server: Server) -> None:
    assert_names(send(server, mask=as_png(Image.new("L", (128, 128)))), "mask")


def parts(**files: Any) -> list[tuple[str, Any]]:
    """A form of text fields and of `files`, each a list of bytes (a file) or texts."""
    fields: list[tuple[str, Any]] = [(name, (None, text)) for name, text in FORM.items()]
    return fields + [
        (name, ("a.png", one, "image/png") if isinstance(one, bytes) else (None, one))
        for name, several in files.items()
        for one in several
    ]


LINK = "http://127.0.0.1:9/picture.png"


@pytest.mark.parametrize(("files", "field"), [
    ({}, "image"), ({"mask": [MASK]}, "image"), ({"image": ["a picture"]}, "image"), ({"image": [LINK]}, "image"),
    ({"image": [LINK, PICTURE]}, "image"), ({"image": [PICTURE, LINK]}, "image"),
    ({"image": [PICTURE, PICTURE]}, "image"), ({"image": [PICTURE], "mask": [LINK]}, "mask"),
    ({"image": [PICTURE], "mask": [LINK, MASK]}, "mask"), ({"image": [""]}, "image"),
    ({"image": [PICTURE], "strength": [MASK]}, "strength"),
], ids=str)  # fmt: skip
def test_what_is_not_one_file_each(server: Server, files: dict[str, Any], field: str) -> None:
    assert_names(server.post("/edit", files=parts(**files)), field)


def test_more_files_than_there_are_fields(server: Server) -> None:
    answer = server.post("/edit", files=parts(image=[PICTURE], mask=[MASK, MASK]))
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["field"]) == ("invalid_field", "mask")


def test_a_link_beside_the_file_is_not_downloaded_by_refine_either(server: Server) -> None:
    assert_names(server.post("/refine", files=parts(image=[LINK, PICTURE])), "image")


def test_a_strength_that_leaves_no_step(server: Server) -> None:
    for mask in (MASK, None):
        for refine in ("ensemble", "none"):
            assert_names(send(server, mask=mask, strength="0.1", refine=refine), "strength")


def test_steps_of_which_the_refiner_gets_none(server: Server) -> None:
    few = send(server, refine="ensemble", high_noise_frac="0.9999", num_inference_steps="2")
    assert_names(few, "num_inference_steps")


def test_fields_that_nobody_has_filled_in_count_as_left_out(server: Server) -> None:
    """As HTML's forms and Swagger's page send them; these write a pair of numbers with a comma, too."""
    untouched = {name: [""] for name in (*EditRequest.model_fields, "mask") if name not in FORM}
    filled = {**untouched, "crops_coords_top_left": ["0,0"]}
    answer = server.post("/edit", files=parts(image=[PICTURE], **filled))
    assert answer.status_code == 200, answer.text
    assert answer.content == send(server, mask=None).content
