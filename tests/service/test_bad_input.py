"""Bad input gets a 400, 413 or 415 that names the field, what came and what is allowed, and harms nobody."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import httpx
import pytest

from tests.service.server import Server, pixels
from tests.service.test_refine import a_picture, as_png

GOOD: dict[str, Any] = {"prompt": "a green cone, white background", "num_inference_steps": 6, "seed": 1}
LONG = "x" * 8_001

# Field, and a value that is just out of bounds, or of a wrong type.
BAD_FIELDS: list[tuple[str, Any]] = [
    ("prompt", ""), ("prompt", "  \n"), ("prompt", LONG), ("prompt", None), ("prompt", 7), ("prompt", ["a cube"]),
    ("prompt_2", LONG), ("negative_prompt", LONG), ("negative_prompt_2", LONG), ("negative_prompt", {"a": 1}),
    ("width", 100), ("width", 56), ("width", 8_200), ("width", 128.5), ("width", "wide"), ("width", True),
    ("height", 100), ("height", 0), ("height", -128), ("height", 8_200),
    ("num_inference_steps", 0), ("num_inference_steps", 151), ("num_inference_steps", 2.5),
    ("num_inference_steps", "ten"),
    ("guidance_scale", -0.1), ("guidance_scale", 30.1), ("guidance_scale", "much"),
    ("refiner_guidance_scale", -0.1), ("refiner_guidance_scale", 30.1),
    ("guidance_rescale", -0.1), ("guidance_rescale", 1.1),
    ("guidance_end", 0), ("guidance_end", 1.1), ("guidance_end", "half"),
    ("seed", -1), ("seed", 2**32), ("seed", 1.5),
    ("scheduler", "dpm_fast"), ("scheduler", 3), ("schedule", "simple"), ("schedule", ["karras"]), ("refine", "twice"),
    ("high_noise_frac", 0), ("high_noise_frac", 1), ("high_noise_frac", -0.5),
    ("strength", 0), ("strength", 1.1),
    ("aesthetic_score", -1), ("aesthetic_score", 10.5),
    ("negative_aesthetic_score", -1), ("negative_aesthetic_score", 11),
    ("original_size", [128]), ("original_size", [128, 128, 128]),
    ("original_size", [-1, 128]), ("original_size", "128x128"),
    ("crops_coords_top_left", [0.5, 0]), ("target_size", [128, 1e9]), ("negative_original_size", 128),
    ("negative_crops_coords_top_left", [None, 0]), ("negative_target_size", [128, -128]),
    ("clip_skip", -1), ("clip_skip", 3), ("clip_skip", 32),
    ("output_format", "gif"), ("quality", 0), ("quality", 101), ("watermark", "yes"), ("watermark", 1),
    ("metadata", "no"), ("metadata", 0),
    ("prompt_syntax", "compel"), ("prompt_syntax", 1), ("long_prompts", "yes"), ("long_prompts", 1),
    ("a_new_field", 1), ("Prompt", "a cube"),
]  # fmt: skip

GOOD_BOUNDS: list[tuple[str, Any]] = [
    ("prompt", "a"), ("prompt", "x" * 8_000), ("negative_prompt", "y" * 7_000),
    ("prompt_syntax", "a1111"), ("long_prompts", True),
    ("width", 64), ("height", 64), ("num_inference_steps", 150),
    ("guidance_scale", 0), ("guidance_scale", 30), ("refiner_guidance_scale", 0), ("refiner_guidance_scale", 30),
    ("guidance_rescale", 0), ("guidance_rescale", 1), ("guidance_end", 0.001), ("guidance_end", 1),
    ("seed", 0), ("seed", 2**32 - 1),
    ("high_noise_frac", 0.01), ("high_noise_frac", 0.99),
    ("aesthetic_score", 0), ("aesthetic_score", 10), ("clip_skip", 0), ("clip_skip", 2),
    ("quality", 1), ("quality", 100), ("output_format", "jpeg"), ("output_format", "webp"),
]  # fmt: skip


def assert_names(response: httpx.Response, field: str, status: int = 400) -> None:
    assert response.status_code == status, response.text[:500]
    body = response.json()
    assert body["field"].split(".")[0] == field
    assert field in body["error"]
    assert "Traceback" not in response.text


@pytest.mark.parametrize(("field", "value"), BAD_FIELDS, ids=lambda v: str(v)[:20])
def test_a_bad_field_is_named(server: Server, field: str, value: Any) -> None:
    response = server.post("/generate", json={**GOOD, field: value})
    assert_names(response, field)
    assert len(response.text) < 600


@pytest.mark.parametrize(("field", "value"), GOOD_BOUNDS, ids=lambda v: str(v)[:20])
def test_the_bounds_themselves_are_allowed(server: Server, field: str, value: Any) -> None:
    steps = 100 if field == "high_noise_frac" else 6  # both stages must have a step
    response = server.post("/generate", json={**GOOD, "num_inference_steps": steps, field: value})
    assert response.status_code == 200, response.text


def test_strength_of_one_is_allowed(server: Server) -> None:
    assert server.post("/generate", json={**GOOD, "refine": "sdedit", "strength": 1}).status_code == 200


def test_what_came_and_what_is_allowed_are_said(server: Server) -> None:
    body = server.post("/generate", json={**GOOD, "num_inference_steps": 151}).json()
    assert body["got"] == "151"
    assert "151" in body["error"]
    assert "150" in body["error"]


def test_a_missing_prompt_is_named(server: Server) -> None:
    assert_names(server.post("/generate", json={"seed": 1}), "prompt")


def test_too_many_pixels(server: Server) -> None:
    assert_names(server.post("/generate", json={**GOOD, "width": 4096, "height": 4096}), "width")
    assert_names(server.post("/generate", json={**GOOD, "width": 8192, "height": 1024}), "width")


@pytest.mark.parametrize("fields", [
    {"num_inference_steps": 1, "refine": "ensemble"},
    {"num_inference_steps": 4, "high_noise_frac": 0.01, "refine": "ensemble"},
    {"scheduler": "lcm", "num_inference_steps": 51},
], ids=str)  # fmt: skip
def test_steps_that_cannot_be_shared_out(server: Server, fields: dict[str, Any]) -> None:
    assert_names(server.post("/generate", json={**GOOD, **fields}), "num_inference_steps")


def test_a_strength_that_leaves_no_step(server: Server) -> None:
    assert_names(server.post("/generate", json={**GOOD, "refine": "sdedit", "strength": 0.1}), "strength")


NO_REQUESTS = [
    b"", b"{", b"[]", b"null", b"prompt=a", b'{"prompt": "\xff"}', b'{"prompt": "a", "seed": NaN}',
    b'{"prompt": "a", "guidance_scale": Infinity}', b'{"prompt": "a", "guidance_scale": NaN}',
]  # fmt: skip


@pytest.mark.parametrize("body", NO_REQUESTS)
def test_a_body_that_is_no_request(server: Server, body: bytes) -> None:
    response = server.post("/generate", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]


def test_a_prompt_of_10_mb(server: Server) -> None:
    assert_names(server.post("/generate", json={"prompt": "x" * 10_000_000}), "body", status=413)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
                                        "application/vnd.bentoml+pickle"])  # fmt: skip
def test_a_wrong_content_type(server: Server, media_type: str) -> None:
    response = server.post("/generate", content=json.dumps(GOOD), headers={"content-type": media_type})
    assert_names(response, "content-type", status=415)


def huge_png() -> bytes:
    """A PNG whose header declares 20,000 x 20,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1_000)))


PICTURE = as_png(a_picture())
BAD_UPLOADS = {
    "truncated": (PICTURE[: len(PICTURE) // 2], 400), "text": (b"this is not a picture", 415), "empty": (b"", 415),
    "declares 20,000 x 20,000": (huge_png(), 413), "tiny": (as_png(a_picture(16, 16)), 400),
    "more than 20 MB": (PICTURE + b"\0" * 20_000_000, 413),
}  # fmt: skip


@pytest.mark.parametrize(("upload", "status"), BAD_UPLOADS.values(), ids=BAD_UPLOADS)
def test_a_bad_upload(server: Server, upload: bytes, status: int) -> None:
    response = server.post("/refine", data={"prompt": "a cube"}, files={"image": ("a.png", upload, "image/png")})
    assert response.status_code == status, response.text[:500]
    assert response.json()["field"] in ("image", "body")


BAD_FORM_FIELDS = [
    ("prompt", ""), ("strength", "2"), ("num_inference_steps", "many"), ("width", "128"),
    ("image", "http://127.0.0.1:9/picture.png"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), BAD_FORM_FIELDS)
def test_a_bad_form_field(server: Server, field: str, value: str) -> None:
    files = {} if field == "image" else {"image": ("a.png", PICTURE, "image/png")}
    form = {"prompt": "a cube", field: value}
    if files:
        response = server.post("/refine", data=form, files=files)
    else:
        parts = {name: (None, text) for name, text in form.items()}
        response = server.post("/refine", files=parts)
    assert_names(response, field)


def test_a_form_without_a_boundary(server: Server) -> None:
    response = server.post("/refine", content=b"x", headers={"content-type": "multipart/form-data"})
    assert response.status_code == 400


def test_after_500_bad_requests_the_next_good_one_works(server: Server) -> None:
    cases = [*BAD_FIELDS, ("clip_skip", 30)]  # the last one is refused by the stage
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for i in range(500):
            field, value = cases[i % len(cases)]
            assert client.post("/generate", json={**GOOD, field: value}).status_code == 400
    assert pixels(server.post("/generate", json=GOOD)).shape == (128, 128, 3)


def test_prompts_are_not_logged(server: Server) -> None:
    server.post("/generate", json={**GOOD, "prompt": "a secret cube " * 30})
    server.post("/generate", json={**GOOD, "prompt": "a secret cube", "seed": -1})
    assert "secret" not in server.log.read_text()
