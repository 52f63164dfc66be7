"""OpenVINO and ONNX Runtime give what diffusers' own pipelines give: at most 3 of 255 levels apart anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.in_process import Studio, studio
from tests.kept import Pixels
from tests.loading import default_checkpoint
from tests.service.edit_reference import EditReference
from tests.service.reference import Reference, distance
from tests.service.test_edit import a_mask, edit
from tests.service.test_refine import a_picture, as_png

TOLERANCE = 3
SETTLED: dict[str, Any] = {
    "prompt": "a red cube on top of a blue sphere, yellow background",
    "seed": 7,
    "num_inference_steps": 8,
    "guidance_scale": 3.0,
}
SMALL = {"width": 64, "height": 64}
REQUESTS: dict[str, dict[str, Any]] = {
    "ensemble, clip_skip": {"clip_skip": 1, "negative_prompt": "a blue cone"},
    "sdedit, wide": {"refine": "sdedit", "scheduler": "dpmpp_2m", "width": 192, "height": 128},
    "base alone, odd latents": {"refine": "none", "scheduler": "ddim", "width": 136, "height": 120},
    "without guidance": {"guidance_scale": 1.0, "scheduler": "unipc", "seed": 8},
    "rescaled, stochastic": {"guidance_rescale": 0.7, "guidance_scale": 7.0, "scheduler": "euler_ancestral"},
    "other words": {"prompt": " ".join(["a green cone"] * 40), "prompt_2": "white background", "scheduler": "heun"},
}


@pytest.fixture(scope="module", params=[pytest.param("openvino", marks=pytest.mark.full), "onnxruntime"])
def converted(request: pytest.FixtureRequest, converted_models: Path) -> Iterator[Studio]:
    with studio(backend=request.param, backend_cache=converted_models, max_rows=16) as opened:
        assert default_checkpoint(opened.base).backend == request.param
        yield opened


@pytest.fixture(scope="module")
def editing(reference: Reference) -> EditReference:
    return EditReference(reference)


@pytest.fixture(scope="module")
def expected(reference: Reference) -> dict[str, Pixels]:
    return {name: reference.generate(**SETTLED | SMALL | fields) for name, fields in REQUESTS.items()}


def test_every_kind_of_request_alone_and_together(converted: Studio, expected: dict[str, Pixels]) -> None:
    def far_off(name: str) -> int:
        far = distance(converted.generate(**SETTLED | SMALL | REQUESTS[name]), expected[name])
        return far if far > TOLERANCE else 0

    alone = [far_off(name) for name in REQUESTS]
    with ThreadPoolExecutor(len(REQUESTS)) as pool:
        together = list(pool.map(far_off, REQUESTS))
    assert (alone, together) == ([0] * len(REQUESTS),) * 2


@pytest.mark.parametrize("mask", [None, a_mask()], ids=["img2img", "inpainting"])
def test_an_edit(converted: Studio, editing: EditReference, mask: Any) -> None:
    fields = {**SETTLED, "strength": 0.7, "clip_skip": 0}
    got = edit(converted, a_picture(), mask, **fields, paste_original=False)
    assert distance(got, editing.edit(a_picture(), mask, **fields)) <= TOLERANCE


def test_a_refined_picture(converted: Studio, reference: Reference) -> None:
    fields = {**SETTLED, "strength": 0.5}
    got = converted.refine(as_png(a_picture(131, 77)), **fields)
    assert distance(got, reference.refined(a_picture(131, 77), **fields)) <= TOLERANCE


def test_contexts_of_several_chunks(converted: Studio, mini: Studio) -> None:
    """Weighted, changing, and of unlike lengths in the same ticks, beside torch."""
    jobs = [
        {**SETTLED, **SMALL, "prompt": prompt, "negative_prompt": "gray BREAK blue", "prompt_syntax": "a1111"}
        for prompt in ("a (red:1.3) cube", "a red cube BREAK white BREAK soft light", "a [red|green BREAK blue] cone")
    ]
    with ThreadPoolExecutor(len(jobs)) as pool:
        together = list(pool.map(lambda job: converted.generate(**job), jobs))
    assert [distance(got, mini.generate(**job)) <= TOLERANCE for got, job in zip(together, jobs, strict=True)] == [
        True
    ] * len(jobs)
