"""A picture in two passes: diffusers' pipelines give the same, and it counts as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from PIL import Image
from torch.nn import functional

from entry.fleet.progress import Follower, Progress
from sdxl.config.settings import MINI
from sdxl.errors import RelayError
from sdxl.picture.parameters import parameters_text
from sdxl.request.hires import Hires
from sdxl.request.limits import LIMITS, Limits
from sdxl.request.requests import GenerationRequest
from tests.in_process import Studio, studio
from tests.service.reference import distance
from training.judge import judge
from training.scenes import scenes

SHARED: dict[str, Any] = {"prompt": "a red cube, white background", "num_inference_steps": 10, "guidance_scale": 3.0}
FIELDS: dict[str, Any] = {**SHARED, "seed": 4, "width": 64, "height": 64}


@pytest.fixture(scope="module")
def made() -> Iterator[Studio]:
    with studio(max_pixels=256 * 256) as opened:
        yield opened


@pytest.fixture(scope="module")
def base() -> Any:
    pipeline = StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def reference(base: Any, strength: float, *, latents: bool) -> Any:
    """The model card's way, in two calls, each with a generator of the same seed."""

    def generator() -> torch.Generator:
        return torch.Generator("cpu").manual_seed(4)

    small = base(**SHARED, generator=generator(), width=64, height=64).images[0]
    second = StableDiffusionXLImg2ImgPipeline(**base.components, requires_aesthetics_score=False, add_watermarker=False)
    second.set_progress_bar_config(disable=True)
    drawn = generator()
    image: Any = small.resize((128, 128), Image.Resampling.LANCZOS)
    if latents:
        pixels = second.image_processor.preprocess(small)
        encoded = second.prepare_latents(pixels, torch.tensor([0]), 1, 1, torch.float32, "cpu", drawn, False)
        image = functional.interpolate(encoded, scale_factor=2, mode="bilinear")
    return np.asarray(second(**SHARED, image=image, strength=strength, generator=drawn).images[0])


@pytest.mark.parametrize(("upscaler", "strength"), [("lanczos", 0.5), ("latent", 0.8)])
def test_as_diffusers_does_it(made: Studio, base: Any, upscaler: str, strength: float) -> None:
    hires = {"upscaler": upscaler, "strength": strength}
    ours = made.generate(**FIELDS, refine="none", watermark=False, hires=hires)
    assert distance(ours, reference(base, strength, latents=upscaler == "latent")) <= 2


def test_pictures_are_right(made: Studio) -> None:
    drawn = scenes(31, 5, held_out=True)
    right = [
        judge(
            made.generate(prompt=scene.caption, seed=1, num_inference_steps=20, width=64, height=64, hires={}), scene
        ).all_right
        for scene in drawn
    ]
    assert sum(right) >= 4, [scene.caption for scene, ok in zip(drawn, right, strict=True) if not ok]


def test_it_is_one_request(made: Studio) -> None:
    """With the refiner in the second pass: one count of steps, and no more previews than were asked for."""
    told: list[Progress] = []

    async def make() -> Any:
        LIMITS.set(Limits.from_headers({}, 60))
        request = GenerationRequest(**FIELDS, hires=Hires(strength=0.5, steps=12))
        return await made.pictures.generate(request, Follower(told.append, previews=4))

    file = asyncio.run(make())
    assert {each.whole for each in told} == {10 + 6}
    done = [each.done for each in told]
    assert done == sorted(done)
    assert done[-1] == 16
    assert sum(each.preview is not None for each in told) == 4
    assert file.models.keys() == {"base", "refiner"}
    assert (file.width_px, file.height_px) == (128, 128)
    record = file.record
    assert record is not None
    assert (record.request.refine, record.request.width, record.width) == ("ensemble", 64, 128)
    assert "Size: 64x64" in parameters_text(record)
    assert "Hires resize: 128x128, Hires steps: 6, Hires upscaler: Lanczos" in parameters_text(record)
    again = made.generated(**{name: value for name, value in record.request.model_dump().items() if value is not None})
    assert again.data == file.data


def test_the_second_pass_may_differ(made: Studio) -> None:
    plain = made.generate(**FIELDS, refine="none", hires={})
    for other in (
        {"prompt": "a blue sphere, white background", "strength": 0.9}, {"guidance_scale": 1.0}, {"steps": 20},
        {"scheduler": "dpmpp_2m", "schedule": "karras"}, {"upscaler": "nearest"},
    ):  # fmt: skip
        assert distance(made.generate(**FIELDS, refine="none", hires=other), plain) > 0, other


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"hires": {"scale": 4}, "width": 128}, "hires"),
        ({"hires": {"width": 512, "height": 512}}, "hires"),
        ({"hires": {"width": 64}, "width": 256}, "hires"),  # 64 x 16
        ({"hires": {}, "refine": "sdedit"}, "refine"),
        ({"hires": {"prompt": "b" * 5_000}, "prompt_2": "a" * 4_000}, "hires"),
    ],
)
def test_what_is_refused(made: Studio, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(RelayError) as raised:
        made.generate(**{**FIELDS, **fields})
    assert (raised.value.status, raised.value.field) == (400, field)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({}, (256, 192)), ({"scale": 1.3}, (168, 128)), ({"width": 192}, (192, 144)),
        ({"height": 192}, (256, 192)), ({"width": 256, "height": 256}, (256, 256)),
    ],
)  # fmt: skip
def test_sizes(fields: dict[str, Any], size: tuple[int, int]) -> None:
    assert Hires(**fields).size(128, 96) == size
