"""Distilled models: both stages give what their model cards' own code gives, and takes what they are made for."""

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

from sdxl.errors import RelayError
from tests.conftest import MINI
from tests.in_process import Studio, record_of_file, studio
from tests.sdxl.models.distilled_files import write_lora, write_turbo, write_unet_state
from tests.service.reference import distance
from tests.service.test_edit import edit
from tests.service.test_refine import a_picture

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
def turbo(files: Path) -> Iterator[Studio]:
    with studio(preset="turbo", base=str(files / "turbo"), max_rows=8) as opened:
        yield opened


@pytest.fixture(scope="module")
def lightning(files: Path) -> Iterator[Studio]:
    with studio(
        preset="lightning", distilled=str(files / "sdxl_lightning_4step_unet.safetensors"), max_rows=8
    ) as opened:
        yield opened


@pytest.fixture(scope="module")
def lcm(files: Path) -> Iterator[Studio]:
    with studio(preset="lcm", distilled=str(files / "lcm.safetensors"), max_rows=8) as opened:
        yield opened


def picture(pipeline: Any, **options: Any) -> NDArray[np.uint8]:
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(5)
    return np.asarray(pipeline(prompt=PROMPT, generator=generator, **options).images[0])


def base() -> Any:
    return StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)


def test_turbo_as_its_card_has_it(turbo: Studio, files: Path) -> None:
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


def test_turbo_edits_as_its_card_has_it(turbo: Studio, files: Path) -> None:
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


def test_lightning_as_its_card_has_it(lightning: Studio, files: Path) -> None:
    pipeline = base()
    pipeline.unet.load_state_dict(load_file(files / "sdxl_lightning_4step_unet.safetensors"))
    pipeline.scheduler = EulerDiscreteScheduler.from_config(pipeline.scheduler.config, timestep_spacing="trailing")
    want = picture(pipeline, num_inference_steps=4, guidance_scale=0)
    assert distance(lightning.generate(prompt=PROMPT, seed=5), want) <= TOLERANCE
    assert distance(want, picture(base(), num_inference_steps=4, guidance_scale=0)) > 20, "another model than the base"


@pytest.mark.parametrize("guidance_scale", [None, 1.5])
def test_lcm_as_its_card_has_it(lcm: Studio, files: Path, guidance_scale: float | None) -> None:
    pipeline = base()
    pipeline.scheduler = LCMScheduler.from_config(pipeline.scheduler.config)
    plain = picture(pipeline, num_inference_steps=4, guidance_scale=guidance_scale or 1.0)
    pipeline.load_lora_weights(files, weight_name="lcm.safetensors")
    pipeline.fuse_lora()
    want = picture(pipeline, num_inference_steps=4, guidance_scale=guidance_scale or 1.0)
    given = {} if guidance_scale is None else {"guidance_scale": guidance_scale}
    assert distance(lcm.generate(prompt=PROMPT, seed=5, **given), want) <= TOLERANCE
    assert distance(want, plain) > 20, "another model than the base"


def test_the_refiner_is_left_out_unless_asked_for(lightning: Studio) -> None:
    def refined() -> int:
        return lightning.refiner.engine.stats.done

    before = refined()
    lightning.generate(prompt=PROMPT, seed=5)
    assert refined() == before
    for refine in ("ensemble", "sdedit"):
        lightning.generate(prompt=PROMPT, seed=5, refine=refine)
    assert refined() == before + 2
    with pytest.raises(RelayError) as raised:
        lightning.generate(prompt=PROMPT, num_inference_steps=1, refine="ensemble")
    assert (raised.value.status, raised.value.code) == (400, "no_step")


def test_the_ensemble_is_diffusers_own(lightning: Studio, files: Path) -> None:
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
    opened: Studio = request.getfixturevalue(preset)
    with pytest.raises(RelayError) as raised:
        opened.generate(prompt=PROMPT, **fields)
    assert (raised.value.status, raised.value.field) == (400, next(iter(fields)))
    assert said in raised.value.message


def test_edits_have_the_same_bounds(turbo: Studio) -> None:
    with pytest.raises(RelayError) as raised:
        edit(turbo, a_picture(), prompt=PROMPT, num_inference_steps=20)
    assert (raised.value.status, raised.value.field) == (400, "num_inference_steps")


def test_the_record_gives_the_picture_again(lcm: Studio) -> None:
    first = lcm.generated(prompt=PROMPT)
    request = record_of_file(first.data)["request"]
    assert request["num_inference_steps"] == 4
    assert lcm.generated(**request).data == first.data
