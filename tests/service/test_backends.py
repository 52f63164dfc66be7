"""OpenVINO and ONNX Runtime give what diffusers' own pipelines give: at most 3 of 255 levels apart anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from tests.service.edit_reference import EditReference
from tests.service.reference import Reference, distance
from tests.service.server import Server, serving
from tests.service.test_edit import a_mask, edit
from tests.service.test_refine import a_picture, as_png

TOLERANCE = 3
SETTLED: dict[str, Any] = {
    "prompt": "a red cube on top of a blue sphere, yellow background",
    "seed": 7,
    "num_inference_steps": 8,
    "guidance_scale": 3.0,
}
REQUESTS: dict[str, dict[str, Any]] = {
    "ensemble": {},
    "sdedit": {"refine": "sdedit", "scheduler": "dpmpp_2m"},
    "base alone": {"refine": "none", "scheduler": "ddim"},
    "without guidance": {"guidance_scale": 1.0, "scheduler": "unipc", "seed": 8},
    "rescaled, stochastic": {"guidance_rescale": 0.7, "guidance_scale": 7.0, "scheduler": "euler_ancestral"},
    "clip_skip": {"clip_skip": 1, "negative_prompt": "a blue cone"},
    "wide": {"width": 192, "height": 128, "scheduler": "heun"},
    "odd latents": {"width": 136, "height": 120, "scheduler": "dpmpp_2m_sde"},
    "other prompts": {"prompt": "a green cone", "prompt_2": "white background", "negative_prompt": "", "seed": 9},
    "long prompt": {"prompt": " ".join(["a purple cylinder left of an orange cone"] * 12), "scheduler": "pndm"},
    "sizes": {"original_size": (256, 200), "crops_coords_top_left": (16, 8), "aesthetic_score": 7.5},
}


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def own_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp(request.param)
    with serving(home, SDXL_BACKEND=request.param, SDXL_BACKEND_CACHE=home / "cache", SDXL_MAX_ROWS=16) as running:
        assert f"{request.param} has taken over" in running.log.read_text()
        yield running


@pytest.fixture(scope="module")
def editing(reference: Reference) -> EditReference:
    return EditReference(reference)


def test_every_kind_of_request_alone_and_together(own_server: Server, reference: Reference) -> None:
    requests = [{**SETTLED, **fields} for fields in REQUESTS.values()]
    alone = [own_server.generate(**fields) for fields in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        together = list(pool.map(lambda fields: own_server.generate(**fields), requests))
    expected = [reference.generate(**fields) for fields in requests]
    for pictures in (alone, together):
        far = {
            name: distance(got, wanted)
            for name, got, wanted in zip(REQUESTS, pictures, expected, strict=True)
            if distance(got, wanted) > TOLERANCE
        }
        assert not far


@pytest.mark.parametrize("mask", [None, a_mask()], ids=["img2img", "inpainting"])
def test_an_edit(own_server: Server, editing: EditReference, mask: Any) -> None:
    fields = {**SETTLED, "strength": 0.7, "clip_skip": 0}
    got = edit(own_server, a_picture(), mask, **fields, paste_original=False)
    assert distance(got, editing.edit(a_picture(), mask, **fields)) <= TOLERANCE


def test_a_refined_picture(own_server: Server, reference: Reference) -> None:
    fields = {**SETTLED, "strength": 0.5}
    got = own_server.refine(as_png(a_picture(131, 77)), **fields)
    assert distance(got, reference.refined(a_picture(131, 77), **fields)) <= TOLERANCE


def test_the_same_request_gives_the_same_bytes(own_server: Server) -> None:
    assert np.array_equal(own_server.generate(**SETTLED), own_server.generate(**SETTLED))
