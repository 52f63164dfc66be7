"""What fields of AUTOMATIC1111's mean here."""

from __future__ import annotations

import asyncio
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from entry.automatic1111.jobs import Jobs
from entry.automatic1111.requests import HARMLESS, MEANINGLESS, Txt2Img
from entry.automatic1111.samplers import BY_LABEL, our_sampler, sampler_items
from sdxl.errors import RelayError
from sdxl.request.samplers import SamplerName


def ours(**fields: Any) -> dict[str, Any]:
    (request,) = Txt2Img(prompt="a cube", **fields).requests([5])
    return request.model_dump(exclude_none=True, exclude_defaults=True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"steps": 20, "cfg_scale": 7, "width": 512, "height": 768, "negative_prompt": "b"},
         {"num_inference_steps": 20, "guidance_scale": 7, "width": 512, "height": 768, "negative_prompt": "b"}),
        ({"sampler_name": "Euler a"}, {"scheduler": "euler_ancestral"}),
        ({"sampler_index": "DPM++ 2M", "scheduler": "Karras"}, {"scheduler": "dpmpp_2m_karras"}),
        ({"refiner_switch_at": 0.7}, {"refine": "ensemble", "high_noise_frac": 0.7}),
        ({"refiner_switch_at": 1}, {"refine": "none"}),
        ({"refiner_checkpoint": "None", "refiner_switch_at": 0.5}, {"refine": "none"}),
        ({"refiner_checkpoint": "sdxl"}, {"refiner_model": "sdxl"}),
        ({"refiner_checkpoint": ""}, {}),
        ({"override_settings": {"sd_model_checkpoint": "sdxl", "CLIP_stop_at_last_layers": 1}}, {"model": "sdxl"}),
        ({"override_settings": {"sd_model_checkpoint": ""}}, {}),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, {"clip_skip": 0}),
        ({"override_settings": {"CLIP_stop_at_last_layers": 3}}, {"clip_skip": 1}),
        ({"enable_hr": False, "hr_scale": 2, "alwayson_scripts": {}, "styles": [], "tiling": None, "eta": None}, {}),
    ],
)  # fmt: skip
def test_fields_are_mapped(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert ours(**fields) == {"prompt": "a cube", "prompt_syntax": "a1111", "seed": 5, **expected}


@pytest.mark.parametrize("seed", [-1, None])
def test_a_seed_to_be_drawn(seed: int | None) -> None:
    assert Txt2Img(prompt="a", seed=seed).first_seed is None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"enable_hr": True}, "enable_hr"), ({"alwayson_scripts": {"ADetailer": {}}}, "alwayson_scripts"),
        ({"styles": ["a"]}, "styles"), ({"script_name": "X/Y/Z plot"}, "script_name"), ({"tiling": True}, "tiling"),
        ({"subseed_strength": 0.1}, "subseed_strength"), ({"eta": 0.5}, "eta"),
        ({"sampler_name": "Restart"}, "sampler_name"), ({"scheduler": "Exponential"}, "scheduler"),
        ({"sampler_name": "Euler", "scheduler": "Karras"}, "scheduler"),
        ({"batch_size": 8, "n_iter": 5}, "batch_size"),
    ],
)  # fmt: skip
def test_what_would_have_a_meaning_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(RelayError) as raised:
        Txt2Img(prompt="a", **fields)
    assert raised.value.field == named


@pytest.mark.parametrize(
    "fields",
    [
        {"a_new_field": 1}, {"override_settings": {"sd_vae": "a"}}, {"width": 100}, {"refiner_switch_at": 0},
        {"refiner_checkpoint": 5}, {"seed": -2},
    ],
)  # fmt: skip
def test_what_is_not_allowed(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Txt2Img(prompt="a", **fields)


def test_no_field_has_two_meanings() -> None:
    names = [*Txt2Img.model_fields, *MEANINGLESS, *HARMLESS]
    assert len(names) == len(set(names))


def test_every_sampler_of_ours_has_a_name_there() -> None:
    assert {ours for schedules in BY_LABEL.values() for ours in schedules.values()} == set(get_args(SamplerName))
    for item in sampler_items():
        for name in (item["name"], item["name"].upper(), *item["aliases"]):
            assert our_sampler(name, None) is not None
    assert our_sampler("DPM++ 2M Karras", "Automatic") == "dpmpp_2m_karras"
    assert our_sampler("DPM++ 2M", "uniform") == "dpmpp_2m"


def test_an_interruption_ends_the_callers_jobs_only() -> None:
    async def main() -> None:
        jobs = Jobs()

        async def run(caller: str, seconds: float) -> str:
            with jobs.running(caller, 1) as job:
                return await job.unless_interrupted(asyncio.sleep(seconds, "done"))

        mine, theirs = asyncio.create_task(run("me", 60)), asyncio.create_task(run("they", 0.2))
        await asyncio.sleep(0.05)
        assert jobs.latest("me") is not jobs.latest("they")
        jobs.interrupt("me")
        with pytest.raises(RelayError, match="interrupted"):
            await mine
        assert await theirs == "done"
        assert jobs.latest("me") is jobs.latest("they") is None

    asyncio.run(main())


@pytest.mark.parametrize(
    ("prompt", "text", "loras"),
    [
        ("a cube <lora:style:0.8>", "a cube", [{"name": "style", "scale": 0.8}]),
        ("<lora:a.b:1>a <lora:c>cube", "a cube", [{"name": "a.b", "scale": 1.0}, {"name": "c", "scale": 1.0}]),
        ("a <lora:Käse v1.5 (日本):1> cube", "a  cube", [{"name": "Käse v1.5 (日本)", "scale": 1.0}]),
        ("a cube <lora:style:0.5:0.5>", "a cube", [{"name": "style", "scale": 0.5}]),
        ("a <lora:style:0.5:1> cube", "a  cube", [{"name": "style", "scale": 1.0, "text_encoder_scale": 0.5}]),
        ("a <lora:style:unet=0.2> cube", "a  cube", [{"name": "style", "scale": 0.2, "text_encoder_scale": 1.0}]),
        ("a <lora:style:te=0:unet=1> cube", "a  cube", [{"name": "style", "scale": 1.0, "text_encoder_scale": 0.0}]),
        (" (a:1.2) <cube>", " (a:1.2) <cube>", None),
    ],
)
def test_loras_are_taken_from_the_prompt(prompt: str, text: str, loras: list[dict[str, Any]] | None) -> None:
    (request,) = Txt2Img(prompt=prompt).requests([5])
    assert request.prompt == text
    assert (request.loras and [lora.model_dump(exclude_none=True) for lora in request.loras]) == loras
    (request,) = Txt2Img(prompt=prompt, disable_extra_networks=True).requests([5])
    assert (request.prompt, request.loras) == (text, None)


@pytest.mark.parametrize(
    "prompt",
    ["<lora:a:1>", "x <lora:a:9>", "x <lora:a:1:0.5:2>", "x <lora:a:1:x>",
     "x <lora:a:te=1:dyn=8>", "x <lora:a:b>", "x <lora:>", "x <lora:a> <lora:a>",
     "x <lora:a:nan>", "x " + "".join(f"<lora:a{i}>" for i in range(9))],
)  # fmt: skip
def test_tags_that_mean_nothing_are_refused(prompt: str) -> None:
    with pytest.raises(RelayError) as raised:
        Txt2Img(prompt=prompt)
    assert (raised.value.status, raised.value.field) == (400, "prompt")
