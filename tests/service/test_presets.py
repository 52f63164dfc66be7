"""Distilled models: the server gives what their model cards' own code gives, and takes what they are made for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from numpy.typing import NDArray
from safetensors.torch import load_file

from tests.conftest import MINI
from tests.sdxl.models.distilled_files import write_lora, write_turbo, write_unet_state
from tests.service.reference import distance
from tests.service.server import Server, serving
from tests.service.test_edit import edit
from tests.service.test_refine import a_picture, as_png

PROMPT = "a red cube on top of a blue sphere, yellow background"
TOLERANCE = 2


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distilled")
    write_turbo(folder / "turbo")
    write_unet_state(folder / "sdxl_lightning_4step_unet.safetensors")
    write_lora(folder / "lcm.safetensors")
    return folder


@pytest.fixture(scope="module")
def turbo(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("bentoml")
    with serving(home, SDXL_PRESET="turbo", SDXL_BASE=files / "turbo", SDXL_MAX_ROWS=8) as running:
        yield running


@pytest.fixture(scope="module")
def lightning(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home, file = tmp_path_factory.mktemp("bentoml"), files / "sdxl_lightning_4step_unet.safetensors"
    with serving(home, SDXL_PRESET="lightning", SDXL_DISTILLED=file, SDXL_MAX_ROWS=8) as running:
        yield running


@pytest.fixture(scope="module")
def lcm(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("bentoml")
    with serving(home, SDXL_PRESET="lcm", SDXL_DISTILLED=files / "lcm.safetensors", SDXL_MAX_ROWS=8) as running:
        yield running


def picture(pipeline: Any, **options: Any) -> NDArray[np.uint8]:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(5)
    return np.asarray(pipeline(prompt=PROMPT, generator=generator, **options).images[0])


def base() -> Any:
    return StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)


def test_turbo_as_its_card_has_it(turbo: Server, files: Path) -> None:
    pipeline = StableDiffusionXLPipeline.from_pretrained(files / "turbo", add_watermarker=False)
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    size = {"width": 128, "height": 128}
    for steps in (1, 4):
        want = picture(pipeline, num_inference_steps=steps, guidance_scale=0.0, **size)
        got = turbo.generate(prompt=PROMPT, seed=5, num_inference_steps=steps, **size)
        assert distance(got, want) <= TOLERANCE
    want = picture(pipeline, num_inference_steps=1, guidance_scale=0.0, width=512, height=512)
    assert distance(turbo.generate(prompt=PROMPT, seed=5, watermark=False), want) <= TOLERANCE


def test_turbo_edits_as_its_card_has_it(turbo: Server, files: Path) -> None:
    pipeline = StableDiffusionXLImg2ImgPipeline.from_pretrained(
        files / "turbo", add_watermarker=False, requires_aesthetics_score=False
    )
    pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(
        pipeline.scheduler.config, timestep_spacing="trailing"
    )
    for fields in ({"num_inference_steps": 2, "strength": 0.5}, {"num_inference_steps": 4, "strength": 0.5}):
        want = picture(pipeline, image=a_picture(), guidance_scale=0.0, **fields)
        given: dict[str, Any] = fields if fields["num_inference_steps"] == 2 else {}  # the other ones are the defaults
        assert distance(edit(turbo, a_picture(), prompt=PROMPT, seed=5, **given), want) <= TOLERANCE


def test_lightning_as_its_card_has_it(lightning: Server, files: Path) -> None:
    pipeline = base()
    pipeline.unet.load_state_dict(load_file(files / "sdxl_lightning_4step_unet.safetensors"))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    want = picture(pipeline, num_inference_steps=4, guidance_scale=0)
    assert distance(lightning.generate(prompt=PROMPT, seed=5), want) <= TOLERANCE
    assert distance(want, picture(base(), num_inference_steps=4, guidance_scale=0)) > 20, "another model than the base"


@pytest.mark.parametrize("guidance_scale", [None, 1.5])
def test_lcm_as_its_card_has_it(lcm: Server, files: Path, guidance_scale: float | None) -> None:
    pipeline = base()
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    plain = picture(pipeline, num_inference_steps=4, guidance_scale=guidance_scale or 1.0)
    pipeline.load_lora_weights(files, weight_name="lcm.safetensors")
    pipeline.fuse_lora()
    want = picture(pipeline, num_inference_steps=4, guidance_scale=guidance_scale or 1.0)
    given = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    assert distance(lcm.generate(prompt=PROMPT, seed=5, **given), want) <= TOLERANCE
    assert distance(want, plain) > 20, "another model than the base"


def test_the_refiner_is_left_out_unless_asked_for(lightning: Server) -> None:
    def refined() -> float:
        return lightning.metric("sdxl_relay_jobs_ended_total", stage="refiner", outcome="done")

    lightning.generate(prompt=PROMPT, seed=5)
    assert refined() == 0
    for refine in ("ensemble", "sdedit"):
        lightning.generate(prompt=PROMPT, seed=5, refine=refine)
    assert refined() == 2
    answer = lightning.post("/generate", json={"prompt": PROMPT, "num_inference_steps": 1, "refine": "ensemble"})
    assert (answer.status_code, answer.json()["code"]) == (400, "no_step")


def test_the_ensemble_is_diffusers_own(lightning: Server, files: Path) -> None:
    pipeline = base()
    pipeline.unet.load_state_dict(load_file(files / "sdxl_lightning_4step_unet.safetensors"))
    refiner = StableDiffusionXLImg2ImgPipeline.from_pretrained(MINI / "refiner", add_watermarker=False)
    for part in (pipeline, refiner):
        part.set_progress_bar_config(disable=True)
        part.scheduler = EulerDiscreteScheduler.from_config(part.scheduler.config, timestep_spacing="trailing")
    common: dict[str, Any] = {"prompt": PROMPT, "num_inference_steps": 8, "guidance_scale": 0.0}
    common["generator"] = torch.Generator("cpu").manual_seed(5)
    latents = pipeline(**common, denoising_end=0.7, output_type="latent").images
    want = np.asarray(refiner(**common, image=latents, denoising_start=0.7).images[0])
    got = lightning.generate(prompt=PROMPT, seed=5, num_inference_steps=8, refine="ensemble", guidance_scale=0.0)
    assert distance(got, want) <= TOLERANCE


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("turbo", {"num_inference_steps": 5}, "num_inference_steps: got 5; allowed: 1 to 4, by SDXL_PRESET=turbo"),
    ("turbo", {"guidance_scale": 5.0}, "guidance_scale: got 5.0; allowed: 0 to 1, by SDXL_PRESET=turbo"),
    ("turbo", {"scheduler": "heun"}, "scheduler: got \"heun\"; allowed: euler_ancestral, euler, by SDXL_PRESET=turbo"),
    ("lightning", {"num_inference_steps": 9}, "allowed: 1 to 8, by SDXL_PRESET=lightning"),
    ("lcm", {"num_inference_steps": 1}, "allowed: 2 to 8, by SDXL_PRESET=lcm"),
    ("lcm", {"guidance_scale": 2.5}, "allowed: 0 to 2, by SDXL_PRESET=lcm"),
]  # fmt: skip


@pytest.mark.parametrize(("preset", "fields", "said"), BAD, ids=lambda value: str(value)[:40])
def test_what_a_model_is_not_made_for(
    request: pytest.FixtureRequest, preset: str, fields: dict[str, Any], said: str
) -> None:
    server: Server = request.getfixturevalue(preset)
    answer = server.post("/generate", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 400
    assert answer.json()["field"] == next(iter(fields))
    assert said in answer.json()["error"]


def test_edits_have_the_same_bounds(turbo: Server) -> None:
    files = {"image": ("picture.png", as_png(a_picture()), "image/png")}
    answer = turbo.post("/edit", data={"prompt": PROMPT, "num_inference_steps": "20"}, files=files)
    assert (answer.status_code, answer.json()["field"]) == (400, "num_inference_steps")


def test_the_record_gives_the_picture_again(lcm: Server) -> None:
    first = lcm.post("/generate", json={"prompt": PROMPT})
    found = lcm.post("/provenance", files={"image": ("picture.png", first.content, "image/png")}).json()
    record = found["sdxl_relay"]
    assert record["request"]["num_inference_steps"] == 4
    assert lcm.post("/generate", json=record["request"]).content == first.content
