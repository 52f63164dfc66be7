"""Every schedule of every sampler gives diffusers' own pictures, by both stages and by each alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from diffusers.schedulers import AysSchedules

from sdxl.config.settings import MINI
from sdxl.errors import RelayError
from sdxl.request.samplers import SAMPLERS, SamplerName
from tests.in_process import Studio
from tests.service.edit_reference import EditReference
from tests.service.reference import Reference, distance
from tests.service.test_edit import a_mask
from tests.service.test_refine import a_picture, as_png

SETTLED: dict[str, Any] = {
    "prompt": "a red cube on top of a blue sphere, yellow background",
    "seed": 7,
    "num_inference_steps": 10,
    "guidance_scale": 3.0,
}
SMALL = {"width": 64, "height": 64}
PAIRS = [(name, schedule) for name, each in SAMPLERS.items() for schedule in each.schedules if schedule != "default"]
every_pair = pytest.mark.parametrize(("scheduler", "schedule"), PAIRS)
TOLERANCE = 2


@pytest.fixture(scope="module")
def anew() -> Reference:
    """Pictures that are not kept, for there are too many."""
    return Reference(MINI)


@every_pair
def test_both_stages(mini: Studio, reference: Reference, scheduler: SamplerName, schedule: str) -> None:
    fields = {**SETTLED, **SMALL, "scheduler": scheduler, "schedule": schedule}
    assert distance(mini.generate(**fields, watermark=False), reference.generate(**fields)) <= TOLERANCE


@pytest.mark.full
@pytest.mark.parametrize("refine", ["sdedit", "none"])
@every_pair
def test_other_ways_of_refining(
    mini: Studio, anew: Reference, scheduler: SamplerName, schedule: str, refine: str
) -> None:
    fields = {**SETTLED, **SMALL, "scheduler": scheduler, "schedule": schedule, "refine": refine}
    assert distance(mini.generate(**fields, watermark=False), anew.generate(**fields)) <= TOLERANCE


@pytest.mark.full
@every_pair
def test_both_stages_with_epsilon(
    epsilon: Studio, epsilon_reference: Reference, scheduler: SamplerName, schedule: str
) -> None:
    fields = {**SETTLED, **SMALL, "scheduler": scheduler, "schedule": schedule}
    expected = Reference(epsilon_reference.checkpoints).generate(**fields)
    assert distance(epsilon.generate(**fields, watermark=False), expected) <= TOLERANCE


@pytest.mark.full
@every_pair
def test_refine(mini: Studio, anew: Reference, scheduler: SamplerName, schedule: str) -> None:
    fields = {**SETTLED, "strength": 0.5, "scheduler": scheduler, "schedule": schedule}
    got = mini.refine(as_png(a_picture()), **fields, watermark=False)
    assert distance(got, anew.refined(a_picture(), **fields)) <= TOLERANCE


@pytest.mark.full
@pytest.mark.parametrize("mask", [None, a_mask()], ids=["img2img", "inpainting"])
@every_pair
def test_edit(mini: Studio, anew: Reference, scheduler: SamplerName, schedule: str, mask: Any) -> None:
    fields = {**SETTLED, "strength": 0.7, "scheduler": scheduler, "schedule": schedule}
    upload = None if mask is None else as_png(mask)
    got = mini.edit(as_png(a_picture()), upload, **fields, watermark=False, paste_original=False)
    assert distance(got, EditReference(anew).edit(a_picture(), mask, **fields)) <= TOLERANCE


def test_align_your_steps_is_diffusers_own_use_of_it(mini: Studio, reference: Reference) -> None:
    def make() -> Any:
        pipeline = reference.base
        pipeline.scheduler = DPMSolverMultistepScheduler.from_config(pipeline.own_scheduler_config)
        fields = {name: value for name, value in SETTLED.items() if name not in ("seed", "num_inference_steps")}
        generator = torch.Generator("cpu").manual_seed(SETTLED["seed"])
        timesteps = AysSchedules["StableDiffusionXLTimesteps"]
        return np.asarray(pipeline(**fields, **SMALL, timesteps=timesteps, generator=generator).images[0])

    names = {"scheduler": "dpmpp_2m", "schedule": "align_your_steps", "refine": "none"}
    got = mini.generate(**SETTLED, **SMALL, **names, watermark=False)
    assert distance(got, reference.kept("timesteps", make, **SETTLED, **names)) <= TOLERANCE


def test_lms_from_noise_is_diffusers_own(mini: Studio, reference: Reference) -> None:
    fields = {**SETTLED, **SMALL, "scheduler": "lms", "schedule": "karras", "refine": "none"}
    assert distance(mini.generate(**fields, watermark=False), reference.generate(**fields)) <= TOLERANCE


def test_the_old_name_of_a_pair(mini: Studio) -> None:
    fields = {**SETTLED, **SMALL, "num_inference_steps": 4, "watermark": False}
    old = mini.generate(**fields, scheduler="dpmpp_2m_karras")
    assert np.array_equal(old, mini.generate(**fields, scheduler="dpmpp_2m", schedule="karras"))
    assert not np.array_equal(old, mini.generate(**fields, scheduler="dpmpp_2m"))


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_pair_that_is_not_there_is_refused_by_name(mini: Studio, name: SamplerName) -> None:
    there_are = SAMPLERS[name].schedules
    missing = sorted({"karras", "sgm_uniform", "align_your_steps"} - set(there_are))
    for schedule in missing:
        for make in (mini.generate, lambda **fields: mini.refine(as_png(a_picture()), **fields)):
            with pytest.raises(RelayError) as raised:
                make(prompt="a", scheduler=name, schedule=schedule)
            assert (raised.value.status, raised.value.field, raised.value.got) == (400, "schedule", f'"{schedule}"')
            assert f"allowed: {', '.join(there_are)} with the scheduler {name}" in raised.value.message
