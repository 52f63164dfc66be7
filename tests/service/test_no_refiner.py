"""A checkpoint without a refiner, as nearly every community one is: the base is served alone."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest

from tests.conftest import MINI
from tests.in_process import Studio
from tests.service.server import Server, serving
from tests.service.test_refine import a_picture, as_png

ASKED = {"prompt": "a red cube, white background", "seed": 3, "num_inference_steps": 8, "width": 64, "height": 64}
UPLOAD = {"image": ("a.png", as_png(a_picture(64, 64)), "image/png")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("alone"), SDXL_BASE=MINI / "base", SDXL_MAX_ROWS=4) as running:
        yield running


def test_it_is_ready_with_one_runner(alone: Server) -> None:
    report = httpx.get(f"{alone.url}/readyz").json()
    assert (report["ready"], set(report)) == (True, {"ready", "base", "disagreements"})
    assert set(alone.workers()) == {"sdxl_relay", "sdxl_base"}


def test_pictures_are_the_bases(alone: Server, mini: Studio) -> None:
    """Though this checkpoint's own default is a refined picture."""
    expected = mini.generate(**ASKED, refine="none")
    for refine in ({}, {"refine": "none"}):
        assert np.abs(alone.generate(**ASKED, **refine).astype(int) - expected).max() <= 2
    assert alone.post("/edit", data={**ASKED, "strength": 0.5} | {"width": "", "height": ""}, files=UPLOAD).is_success
    answer = alone.post("/v1/images/generations", json={"prompt": "a red cube", "size": "64x64"})
    assert answer.is_success


def test_what_needs_a_refiner_is_refused(alone: Server) -> None:
    for path, sent in (
        ("/generate", {"json": {**ASKED, "refine": "ensemble"}}),
        ("/edit", {"data": {"prompt": "a red cube", "refine": "ensemble"}, "files": UPLOAD}),
    ):
        answer = alone.post(path, **sent)
        assert answer.status_code == 400
        assert "allowed: none, for this server has no refiner (SDXL_REFINER)" in answer.text
    answer = alone.post("/refine", data={"prompt": "a red cube"}, files=UPLOAD)
    assert (answer.status_code, answer.json()["code"]) == (400, "no_refiner")


def test_the_page_knows(alone: Server) -> None:
    about = httpx.get(f"{alone.url}/ui/server.json").json()
    assert about["has_refiner"] is False
    assert (about["defaults"]["generate"]["refine"], about["fields"]["edit"]["refine"]["enum"]) == ("none", ["none"])
