"""Uploads that are too large become pictures of the largest size that is allowed, and the answer says so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.testclient import TestClient

from entry.http.upload import read_original
from entry.openai.routes import add_openai_routes
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.request.limits import LIMITS, Limits
from tests.in_process import Studio, as_pixels, studio
from tests.service.test_edit import a_mask
from tests.service.test_refine import a_picture, as_png

MAX_PIXELS = 128 * 128
LARGE, MASK = a_picture(512, 384), a_mask(512, 384)
SCALED = (144, 104)  # by the root of 16,384 / 196,608, and down to multiples of 8
SAID = "512 x 384 to 144 x 104"
QUICK: dict[str, Any] = {"prompt": "a cone", "num_inference_steps": 4, "seed": 1}


@pytest.fixture(scope="module")
def small() -> Iterator[Studio]:
    """A studio whose pictures have few pixels."""
    with studio(max_rows=4, max_pixels=MAX_PIXELS) as opened:
        yield opened


@pytest.mark.parametrize("endpoint", ["refined", "edited"])
def test_a_large_picture(small: Studio, endpoint: str) -> None:
    made = getattr(small, endpoint)(as_png(LARGE), **QUICK)
    assert as_pixels(made).shape == (*SCALED[::-1], 3)
    assert made.as_response().headers["x-scaled"] == made.as_json()["warnings"]["scaled"] == SAID
    same = getattr(small, endpoint)(as_png(LARGE.resize(SCALED)), **QUICK)
    assert "scaled" not in same.warnings
    assert "x-scaled" not in same.as_response().headers


def test_a_large_picture_with_its_mask(small: Studio) -> None:
    made = small.edited(as_png(LARGE), as_png(MASK), **QUICK)
    assert made.warnings["scaled"] == SAID
    kept = np.asarray(LARGE.resize(SCALED, Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(as_pixels(made)[:4].astype(int) - kept[:4]).max() <= 8, "what is kept has changed"


@pytest.mark.parametrize("mask_size", [SCALED, (512, 376), (1024, 768), (384, 512)], ids=str)
def test_a_mask_must_have_the_size_of_the_upload(mask_size: tuple[int, int]) -> None:
    settings = Settings(max_pixels=MAX_PIXELS)
    with pytest.raises(RelayError, match=rf"^mask: got .{mask_size[0]} x {mask_size[1]}.*size, 512 x 384$"):
        read_original(as_png(LARGE), settings, as_png(a_mask(*mask_size)))


def test_what_gets_too_narrow_is_refused() -> None:
    with pytest.raises(RelayError, match=r'^image: got "4000 x 100"; allowed: 64 px a side, also within 16384 pixels$'):
        read_original(as_png(Image.new("RGB", (4_000, 100))), Settings(max_pixels=MAX_PIXELS))


@pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning")  # a form's files
@pytest.mark.parametrize("size", [None, "128x64"])
def test_openais_edits(small: Studio, size: str | None) -> None:
    """A size of the client's own choice is none that the server has chosen."""
    LIMITS.set(Limits.from_headers({}, small.settings.timeout_s))  # as the gate does
    app = FastAPI()
    add_openai_routes(app, small.pictures, small.fleet, small.settings)
    form = {"prompt": "a cone", "num_inference_steps": "4", "seed": "1", **({"size": size} if size else {})}
    answer = TestClient(app).post("/v1/images/edits", data=form, files={"image": ("a.png", as_png(LARGE), "image/png")})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert answer.headers.get("x-scaled") == told["data"][0]["warnings"].get("scaled") == (None if size else SAID)
    assert told["size"] == (size or "144x104")
