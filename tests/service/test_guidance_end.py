"""Guidance that ends early: as diffusers' own SDXLCFGCutoffCallback ends it, counted over both stages."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.service.edit_reference import EditReference
from tests.service.reference import Reference, distance
from tests.service.server import Server
from tests.service.test_edit import a_mask, edit
from tests.service.test_refine import a_picture, as_png

SETTLED: dict[str, Any] = {
    "prompt": "a red cube on top of a blue sphere, yellow background",
    "seed": 7,
    "num_inference_steps": 20,
    "guidance_scale": 5.0,
}
CASES: dict[str, dict[str, Any]] = {
    "base alone": {"guidance_end": 0.5, "refine": "none"},
    "in the base's part": {"guidance_end": 0.5},
    "in the refiner's part": {"guidance_end": 0.9},
    "between them": {"guidance_end": 0.8},
    "from the beginning": {"guidance_end": 0.01},
    "sdedit, in the base's steps": {"guidance_end": 0.5, "refine": "sdedit"},
    "sdedit, in the refiner's steps": {"guidance_end": 0.8, "refine": "sdedit", "strength": 0.5},
    "rescaled": {"guidance_end": 0.5, "guidance_rescale": 0.7},
    "of second order, in the base's part": {"guidance_end": 0.35, "scheduler": "heun"},
    "of second order, in the refiner's part": {"guidance_end": 0.9, "scheduler": "heun"},
    "with memory": {"guidance_end": 0.5, "scheduler": "dpmpp_2m"},
    "with noise": {"guidance_end": 0.5, "scheduler": "euler_ancestral"},
    "one timestep twice": {"guidance_end": 0.9, "scheduler": "pndm"},
}


@pytest.mark.parametrize("fields", CASES.values(), ids=CASES)
def test_as_diffusers_ends_it(server: Server, reference: Reference, fields: dict[str, Any]) -> None:
    settled = {**SETTLED, "width": 64, "height": 64, **fields}
    assert distance(server.generate(**settled), reference.generate(**settled)) <= 2


def test_it_changes_the_picture_and_saves_rows(server: Server) -> None:
    def rows() -> float:
        return sum(server.metric("sdxl_relay_tick_rows_sum", stage=stage) for stage in ("base", "refiner"))

    before = rows()
    whole = server.generate(**SETTLED)
    middle = rows()
    cut = server.generate(**SETTLED, guidance_end=0.5)
    assert (middle - before, rows() - middle) == (40, 30)
    assert distance(whole, cut) > 10
    assert np.array_equal(whole, server.generate(**SETTLED, guidance_end=1.0))


@pytest.mark.parametrize(("strength", "guidance_end"), [(0.5, 0.7), (0.5, 0.5), (1.0, 0.4)])
def test_refine(server: Server, reference: Reference, strength: float, guidance_end: float) -> None:
    settled = {**SETTLED, "strength": strength, "guidance_end": guidance_end}
    form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in settled.items()}
    assert distance(server.refine(as_png(a_picture()), **form), reference.refined(a_picture(), **settled)) <= 2


@pytest.mark.parametrize("mask", [None, a_mask()], ids=["img2img", "inpainting"])
@pytest.mark.parametrize("guidance_end", [0.6, 0.9])
def test_edit(server: Server, reference: Reference, guidance_end: float, mask: Image.Image | None) -> None:
    settled = {**SETTLED, "strength": 0.7, "guidance_end": guidance_end}
    got = edit(server, a_picture(), mask, **settled, paste_original=False)
    assert distance(got, EditReference(reference).edit(a_picture(), mask, **settled)) <= 2


def test_the_record_gives_it_again(server: Server) -> None:
    answer = server.post("/generate", json={**SETTLED, "guidance_end": 0.6})
    found = server.post("/provenance", files={"image": ("picture.png", answer.content, "image/png")}).json()
    request = found["sdxl_relay"]["request"]
    assert request["guidance_end"] == 0.6
    assert server.post("/generate", json=request).content == answer.content
