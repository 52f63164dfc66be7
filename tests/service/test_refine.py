"""`/refine` gives what the refiner's model card's own code gives."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdxl.request.samplers import SAMPLERS
from tests.service.reference import Reference, distance
from tests.service.server import Server

PROMPT = "a green cone, white background"


def a_picture(width: int = 64, height: int = 64) -> Image.Image:
    """A smooth gradient with a disc."""
    y, x = np.mgrid[0:height, 0:width]
    levels = np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], axis=2).astype(np.uint8)
    levels[(x - width / 2) ** 2 + (y - height / 2) ** 2 < min(width, height) ** 2 / 18] = (30, 160, 60)
    return Image.fromarray(levels)


def as_png(picture: Image.Image) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "png")
    return buffer.getvalue()


def assert_same(server: Server, reference: Reference, picture: Image.Image, **fields: Any) -> None:
    settled = {
        "prompt": PROMPT,
        "seed": 3,
        "num_inference_steps": 10,
        "guidance_scale": 4.0,
        "strength": 0.5,
        **fields,
    }
    form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settled.items()}
    assert distance(server.refine(as_png(picture), **form), reference.refined(picture, **settled)) <= 2


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.75, 1.0])
def test_every_strength(server: Server, reference: Reference, strength: float) -> None:
    assert_same(server, reference, a_picture(), strength=strength)


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_every_sampler(server: Server, reference: Reference, scheduler: str) -> None:
    assert_same(server, reference, a_picture(), scheduler=scheduler)


@pytest.mark.parametrize("fields", [
    {"guidance_scale": 1.0}, {"guidance_scale": 12.0, "guidance_rescale": 0.5}, {"clip_skip": 1},
    {"negative_prompt": "a blue cone"}, {"aesthetic_score": 9.0, "negative_aesthetic_score": 0.0},
    {"original_size": (64, 80), "crops_coords_top_left": (4, 8), "negative_original_size": (32, 32)},
], ids=str)  # fmt: skip
def test_every_field(server: Server, reference: Reference, fields: dict[str, Any]) -> None:
    assert_same(server, reference, a_picture(), **fields)


@pytest.mark.parametrize("size", [(192, 96), (131, 77)], ids=str)
def test_every_size(server: Server, reference: Reference, size: tuple[int, int]) -> None:
    assert_same(server, reference, a_picture(*size))


def test_a_prompt_that_looks_like_json_is_text(server: Server, reference: Reference) -> None:
    assert_same(server, reference, a_picture(), prompt="123")


def test_the_same_request_twice_gives_the_same_bytes(server: Server) -> None:
    form = {"prompt": PROMPT, "seed": "3"}
    files = {"image": ("picture.png", as_png(a_picture()), "image/png")}
    answers = [server.post("/refine", data=form, files=files) for _ in range(2)]
    assert answers[0].status_code == 200
    assert answers[0].content == answers[1].content
    assert answers[0].headers["x-seed"] == "3"
