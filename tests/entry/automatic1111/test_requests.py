"""What fields of AUTOMATIC1111's mean here."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from entry.automatic1111.meaningless import REFUSED, SILENT, USUAL
from entry.automatic1111.options import Options
from entry.automatic1111.requests import Txt2Img
from sdxl.errors import RelayError


def wanted(**fields: Any) -> Txt2Img:
    return Txt2Img(**{"prompt": "a cube", **fields})


def ours(**fields: Any) -> dict[str, Any]:
    (request,) = wanted(**fields).requests([5])
    return request.model_dump(exclude_none=True, exclude_defaults=True)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"steps": 20, "cfg_scale": 7, "width": 512, "height": 768, "negative_prompt": "b"},
         {"num_inference_steps": 20, "guidance_scale": 7, "width": 512, "height": 768, "negative_prompt": "b"}),
        ({"steps": "20", "cfg_scale": "7.5", "width": "512", "height": 768.0},
         {"num_inference_steps": 20, "guidance_scale": 7.5, "width": 512, "height": 768}),
        ({"width": 519, "height": "100"}, {"width": 512, "height": 96}),
        ({"sampler_name": "Euler a"}, {"scheduler": "euler_ancestral", "schedule": "default"}),
        ({"sampler_index": "DPM++ 2M", "scheduler": "Karras"}, {"scheduler": "dpmpp_2m", "schedule": "karras"}),
        ({"scheduler": "SGM Uniform"}, {"scheduler": "euler", "schedule": "sgm_uniform"}),
        ({"sampler_name": "", "sampler_index": "Automatic"}, {}),
        ({"sampler_name": None, "sampler_index": "DDIM"}, {"scheduler": "ddim", "schedule": "default"}),
        ({"refiner_switch_at": 0.7}, {"refine": "ensemble", "high_noise_frac": 0.7}),
        ({"refiner_switch_at": 1}, {"refine": "none"}),
        ({"refiner_switch_at": 0, "refiner_checkpoint": ""}, {}),
        ({"refiner_checkpoint": "None", "refiner_switch_at": "0.5"}, {"refine": "none"}),
        ({"refiner_checkpoint": "sdxl"}, {"refiner_model": "sdxl"}),
        ({"override_settings": {"sd_model_checkpoint": "sdxl", "CLIP_stop_at_last_layers": 1}}, {"model": "sdxl"}),
        ({"override_settings": {"sd_model_checkpoint": ""}}, {}),
        ({"override_settings": {"sd_model_checkpoint": "None"}}, {}),
        ({"override_settings": None}, {}),
        ({"override_settings": {"CLIP_stop_at_last_layers": "2"}}, {"clip_skip": 0}),
        ({"override_settings": {"CLIP_stop_at_last_layers": 3}}, {"clip_skip": 1}),
        ({"override_settings": {"samples_format": "JPG"}}, {"output_format": "jpeg"}),
        ({"enable_hr": False, "hr_scale": 2, "alwayson_scripts": {}, "styles": [], "tiling": None, "eta": None}, {}),
        ({"a_new_field": {"of": ["any", "kind"]}, "styles": ["a style"], "s_noise": 0}, {}),
    ],
)  # fmt: skip
def test_fields_are_mapped(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    assert ours(**fields) == {"prompt": "a cube", "prompt_syntax": "a1111", "seed": 5, **expected}


@pytest.mark.parametrize("seed", [-1, None, "-1", ""])
def test_a_seed_to_be_drawn(seed: Any) -> None:
    assert Txt2Img(prompt="a", seed=seed).first_seed is None


def test_options_count_where_the_request_says_nothing() -> None:
    options = Options(sd_model_checkpoint="a", CLIP_stop_at_last_layers=4, samples_format="webp")
    (request,) = Txt2Img(prompt="a cube").requests([1], options)
    assert (request.model, request.clip_skip, request.output_format) == ("a", 2, "webp")
    settings = {"sd_model_checkpoint": "b", "CLIP_stop_at_last_layers": 1, "samples_format": "png"}
    (request,) = wanted(override_settings=settings).requests([1], options)
    assert (request.model, request.clip_skip, request.output_format) == ("b", None, "png")


SCRIPTS_OFF: dict[str, Any] = {
    "ControlNet": {"args": []},
    "controlnet": {"args": [{"enabled": False, "image": "x", "model": "canny"}, {"enabled": "false"}]},
    "ADetailer": {"args": [False, False, {"ad_model": "face_yolov8n.pt"}]},
    "adetailer": {"args": [{"ad_model": "None"}]},
    "Dynamic Thresholding": {"args": [False, 7, 1]},
    "Soft Inpainting": [False],
    "Comments": {},
    "unit": {"args": [{}, None, ""]},
    "roop": None,
}


@pytest.mark.parametrize("name", SCRIPTS_OFF)
def test_scripts_that_are_off_are_let_pass(name: str) -> None:
    assert wanted(alwayson_scripts={name: SCRIPTS_OFF[name]}).ignored == {}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"tiling": True}, "tiling"), ({"restore_faces": True}, "restore_faces"),
        ({"restore_faces": "true"}, "restore_faces"), ({"script_name": "X/Y/Z plot"}, "script_name"),
        ({"subseed_strength": 0.1}, "subseed_strength"), ({"seed_resize_from_w": 512}, "seed_resize_from_w"),
        ({"infotext": "a cube\nSteps: 5"}, "infotext"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"enabled": True, "model": "canny"}]}}},
         "alwayson_scripts.ControlNet"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{"model": "canny", "input_image": "x"}]}}},
         "alwayson_scripts.ControlNet"),
        ({"alwayson_scripts": {"ADetailer": {"args": [True, {"ad_model": "face_yolov8n.pt"}]}}},
         "alwayson_scripts.ADetailer"),
        ({"alwayson_scripts": {"ADetailer": {"args": [{"ad_model": "face_yolov8n.pt"}]}}},
         "alwayson_scripts.ADetailer"),
        ({"alwayson_scripts": {"ControlNet": {"args": [{}, {"enabled": "true"}]}}}, "alwayson_scripts.ControlNet"),
        ({"alwayson_scripts": {"Refiner": {"args": {"a": 1}}}}, "alwayson_scripts.Refiner"),
        ({"alwayson_scripts": "ControlNet"}, "alwayson_scripts"),
        ({"sampler_name": "Restart"}, "sampler_name"), ({"sampler_index": "Restart"}, "sampler_index"),
        ({"batch_size": 8, "n_iter": 5}, "batch_size"),
    ],
)  # fmt: skip
def test_what_would_make_another_picture_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(RelayError) as raised:
        Txt2Img(prompt="a", **fields)
    assert (raised.value.status, raised.value.field) == (400, named)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""}, {"width": 32}, {"refiner_switch_at": 1.5}, {"refiner_checkpoint": 5}, {"seed": -2},
        {"steps": "many"}, {"steps": 20.5}, {"cfg_scale": "nan"}, {"override_settings": [1]},
        {"override_settings": {"CLIP_stop_at_last_layers": 13}}, {"override_settings": {"samples_format": "bmp"}},
    ],
)  # fmt: skip
def test_what_is_not_allowed(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as raised:
        Txt2Img(**{"prompt": "a", **fields})
    assert raised.value.errors()[0]["loc"][0] == next(iter(fields))


def test_what_had_no_effect_is_told() -> None:
    ignored = wanted(
        url="http://x", auth="", clip_skip=1, eta=0, styles=["None"], s_noise="0", save_images=True,
        denoising_strength=0.7, hr_upscaler="Latent", subseed=-1, s_churn=0, do_not_save_samples=True,
        override_settings={"eta_noise_seed_delta": 0, "sd_hypernetwork": "None", "sd_vae": "x.pt"},
    ).ignored  # fmt: skip
    assert ignored.keys() == {"url", "clip_skip", "eta", "s_noise", "save_images", "override_settings.sd_vae"}


def test_no_field_has_two_meanings() -> None:
    names = [*Txt2Img.model_fields, *REFUSED, *USUAL, *SILENT]
    assert len(names) == len(set(names))


def test_errors_have_the_name_that_was_sent() -> None:
    assert Txt2Img(prompt="a", sampler_index="Euler").own_names["scheduler"] == "sampler_index"
    assert Txt2Img(prompt="a").own_names["schedule"] == "scheduler"
    assert Txt2Img(prompt="a", sampler_name="Euler", sampler_index="DDIM").own_names["scheduler"] == "sampler_name"


def test_a_schedule_that_has_no_effect_is_told() -> None:
    assert Txt2Img(prompt="a", sampler_name="Euler", scheduler="kl_optimal").ignored.keys() == {"scheduler"}


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
