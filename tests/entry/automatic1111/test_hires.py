"""What `enable_hr` and its fields mean here."""

from __future__ import annotations

from typing import Any

import pytest

from entry.automatic1111.requests import Txt2Img
from sdxl.errors import RelayError
from sdxl.request.hires import Hires


def hires(**fields: Any) -> Hires | None:
    (request,) = Txt2Img(**{"prompt": "a cube", "steps": 20, "enable_hr": True, **fields}).requests([5])
    return request.hires


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"upscaler": "latent", "strength": 0.75, "steps": 27}),
        ({"enable_hr": False, "hr_upscaler": "R-ESRGAN 4x+", "hr_scale": "x"}, None),
        ({"enable_hr": "true", "hr_scale": "1.5", "hr_upscaler": "Lanczos", "denoising_strength": "0.5"},
         {"scale": 1.5, "steps": 40}),
        ({"hr_upscaler": "Nearest", "hr_second_pass_steps": 5, "denoising_strength": 0.5},
         {"upscaler": "nearest", "steps": 10}),
        ({"hr_upscaler": "Latent (bicubic antialiased)", "hr_second_pass_steps": 0},
         {"upscaler": "latent", "strength": 0.75, "steps": 27}),
        ({"hr_upscaler": "None", "denoising_strength": 0}, {"strength": 0.02, "steps": 150}),
        ({"hr_upscaler": "None", "denoising_strength": 0, "steps": None}, {"strength": 0.02, "steps": 50}),
        ({"hr_resize_x": 512, "hr_resize_y": "768", "steps": None},
         {"width": 512, "height": 768, "upscaler": "latent", "strength": 0.75}),
        ({"hr_resize_x": 0, "hr_resize_y": 0, "steps": None}, {"upscaler": "latent", "strength": 0.75}),
        ({"hr_prompt": "a sphere", "hr_negative_prompt": "red", "hr_cfg": 4, "steps": None},
         {"prompt": "a sphere", "negative_prompt": "red", "guidance_scale": 4, "upscaler": "latent", "strength": 0.75}),
        ({"hr_prompt": "", "hr_sampler_name": "Use same sampler", "hr_checkpoint_name": "Use same checkpoint",
          "steps": None}, {"upscaler": "latent", "strength": 0.75}),
        ({"hr_sampler_name": "DPM++ 2M", "hr_scheduler": "Karras", "steps": None},
         {"scheduler": "dpmpp_2m", "schedule": "karras", "upscaler": "latent", "strength": 0.75}),
    ],
)  # fmt: skip
def test_fields_are_mapped(fields: dict[str, Any], expected: dict[str, Any] | None) -> None:
    found = hires(**fields)
    assert (found and found.model_dump(exclude_none=True, exclude_defaults=True)) == expected


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"hr_upscaler": "R-ESRGAN 4x+"}, "hr_upscaler"), ({"hr_scale": 9}, "hr_scale"),
        ({"hr_scale": "much"}, "hr_scale"), ({"hr_resize_x": 33}, "hr_resize_x"),
        ({"hr_second_pass_steps": "some"}, "hr_second_pass_steps"),
        ({"hr_second_pass_steps": -1}, "hr_second_pass_steps"),
        ({"denoising_strength": 2}, "denoising_strength"), ({"hr_checkpoint_name": "x"}, "hr_checkpoint_name"),
        ({"hr_sampler_name": "Restart"}, "hr_sampler_name"),
    ],
)  # fmt: skip
def test_a_bad_field_is_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(RelayError) as raised:
        hires(**fields)
    assert (raised.value.status, raised.value.field) == (400, named)


def test_a_second_schedule_that_has_no_effect_is_told() -> None:
    wanted = Txt2Img(prompt="a", enable_hr=True, hr_sampler_name="Euler", hr_scheduler="kl_optimal")
    assert wanted.ignored.keys() == {"hr_scheduler"}
