"""What clients of AUTOMATIC1111's send, as far as their public sources tell: nobody sends only what is needed."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.conftest import KEYS
from tests.entry.automatic1111.test_img2img import halves, square, text_of
from tests.service.server import Server

PROMPT = "a red cube, white background"
PICTURE, MASK = text_of(halves()), text_of(square((64, 32, 112, 96)))
DIFY_ZEROS = ("denoising_strength", "s_churn", "s_tmax", "s_tmin", "s_noise", "s_min_uncond", "eta", "firstphase_width",
              "firstphase_height", "hr_resize_x", "hr_resize_y", "hr_second_pass_steps", "refiner_switch_at",
              "subseed_strength")  # fmt: skip
DIFY_EMPTY = ("hr_checkpoint_name", "hr_prompt", "hr_negative_prompt", "hr_sampler_name", "hr_upscaler", "script_name",
              "refiner_checkpoint", "sampler_name", "negative_prompt")  # fmt: skip

CLIENTS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "SillyTavern": ("txt2img", {
        "url": "http://127.0.0.1:7860", "auth": "user:password", "negative_prompt": "", "sampler_name": "Euler a",
        "scheduler": "automatic", "steps": 6, "cfg_scale": 7, "width": 128, "height": 128, "restore_faces": False,
        "enable_hr": False, "hr_upscaler": "Latent", "hr_scale": 2, "hr_additional_modules": [],
        "denoising_strength": 0.7, "hr_second_pass_steps": 0, "seed": -1, "clip_skip": 1, "save_images": True,
        "override_settings": {"CLIP_stop_at_last_layers": 1, "forge_additional_modules": []}, "send_images": True,
        "override_settings_restore_afterwards": True, "do_not_save_grid": False, "do_not_save_samples": False,
    }, {"url", "auth", "clip_skip", "save_images", "override_settings.forge_additional_modules"}),
    "KoboldAI Lite": ("txt2img", {
        "negative_prompt": "ugly", "cfg_scale": "7.0", "steps": "6", "width": 128, "height": 128, "seed": "-1",
        "sampler_name": "Euler a", "n_iter": 1, "batch_size": 1, "do_not_save_grid": True, "eta": 0,
        "do_not_save_samples": True, "enable_hr": False, "save_images": False, "send_images": True,
        "override_settings": {"sd_model_checkpoint": "sdxl", "eta_noise_seed_delta": 0, "CLIP_stop_at_last_layers": 1},
    }, {"eta"}),
    "Dify": ("txt2img", {
        **dict.fromkeys(DIFY_ZEROS, 0), **dict.fromkeys(DIFY_EMPTY, ""), "styles": [], "script_args": [],
        "comments": {}, "seed": -1, "subseed": -1, "seed_resize_from_h": -1, "seed_resize_from_w": -1,
        "sampler_index": "Automatic",
        "batch_size": 1, "n_iter": 1, "steps": 10, "cfg_scale": 7, "width": 128, "height": 128, "hr_scale": 2,
        "restore_faces": False, "tiling": False, "enable_hr": False, "do_not_save_samples": False,
        "do_not_save_grid": False, "override_settings": {"sd_model_checkpoint": ""}, "send_images": True,
        "override_settings_restore_afterwards": True, "disable_extra_networks": False, "save_images": False,
        "alwayson_scripts": {},
    }, {"eta", "s_noise"}),
    "aiyabot": ("img2img", {
        "negative_prompt": "", "steps": 6, "width": 128, "height": 128, "cfg_scale": "7.0", "sampler_index": "Euler a",
        "seed": 5, "seed_resize_from_h": -1, "seed_resize_from_w": -1, "denoising_strength": "0.75", "styles": ["None"],
        "n_iter": 1, "init_images": [f"data:image/png;base64,{PICTURE}"],
        "override_settings": {"sd_model_checkpoint": "sdxl", "sd_hypernetwork": "None", "CLIP_stop_at_last_layers": 1},
    }, set()),
    "Open WebUI, edits": ("img2img", {
        "batch_size": 1, "width": 128, "height": 128, "steps": 6, "init_images": [PICTURE],
    }, set()),
    "Discord bots": ("txt2img", {
        "negative_prompt": "bad", "height": 128, "width": 128, "sampler_index": "Euler a", "steps": 6, "cfg_scale": 7.5,
        "seed": -1, "n_iter": 1, "styles": [], "hr_upscaler": "R-ESRGAN 4x+", "hr_scale": 1.5, "enable_hr": False,
        "alwayson_scripts": {"ControlNet": {"args": [{"enabled": False}]}, "ADetailer": {"args": [False]}},
        "restore_faces": "false", "script_args": [], "is_client": True,
    }, {"is_client"}),
    "a plugin for Krita": ("img2img", {
        "init_images": [f"data:image/webp;base64,{PICTURE}"], "mask": MASK, "mask_blur": 0, "inpainting_fill": 1,
        "inpaint_full_res": False, "resize_mode": 1, "denoising_strength": 0.6, "steps": 6, "cfg_scale": 7,
        "width": 128, "height": 128, "sampler_name": "DPM++ 2M", "seed": -1, "batch_size": 1, "n_iter": 1,
        "tiling": False, "include_init_images": True, "alwayson_scripts": {"Simple upscale": {"args": []}},
        "save_images": False, "save_samples": False,
    }, {"save_samples"}),
    "Auto-Photoshop-SD": ("img2img", {
        "init_images": [PICTURE], "mask": MASK, "mask_blur": 4, "inpainting_fill": "0", "inpaint_full_res": True,
        "inpaint_full_res_padding": 32, "inpainting_mask_invert": 0, "denoising_strength": "0.8", "steps": "6",
        "sampler_index": "Euler a", "width": "128", "height": "128", "cfg_scale": "7", "seed": "-1", "batch_size": 2,
        "use_sharp_mask": False, "use_prompt_shortcut": True, "prompt_shortcut_ui_dict": {}, "uniqueDocumentId": "5",
        "mode": "inpaint", "restore_faces": False, "script_args": None, "script_name": None,
        "alwayson_scripts": {"ControlNet": {"args": [{"enabled": False, "weight": 1.0}]}},
    }, {"use_sharp_mask", "use_prompt_shortcut", "prompt_shortcut_ui_dict", "uniqueDocumentId", "mode"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_get_their_pictures(server: Server, name: str) -> None:
    path, fields, ignored = CLIENTS[name]
    answer = server.post(f"/sdapi/v1/{path}", json={"prompt": PROMPT, **fields})
    assert answer.status_code == 200, answer.text
    info = json.loads(answer.json()["info"])
    assert info["ignored"].keys() == ignored
    assert len(answer.json()["images"]) == fields.get("batch_size", 1)
    for text in answer.json()["images"]:
        assert Image.open(BytesIO(base64.b64decode(text))).size == (128, 128)


def test_info_has_what_was_really_used(server: Server) -> None:
    answer = server.post("/sdapi/v1/txt2img", json={"prompt": PROMPT, "seed": 3}).json()
    info = json.loads(answer["info"])
    assert info.keys() == {
        "prompt", "all_prompts", "negative_prompt", "all_negative_prompts", "seed", "all_seeds", "subseed",
        "all_subseeds", "subseed_strength", "width", "height", "sampler_name", "cfg_scale", "steps", "batch_size",
        "restore_faces", "face_restoration_model", "sd_model_name", "sd_model_hash", "sd_vae_name", "sd_vae_hash",
        "seed_resize_from_w", "seed_resize_from_h", "denoising_strength", "extra_generation_params",
        "index_of_first_image", "infotexts", "styles", "job_timestamp", "clip_skip",
        "is_using_inpainting_conditioning", "version", "ignored", "interrupted",
    }  # fmt: skip
    picture = Image.open(BytesIO(base64.b64decode(answer["images"][0])))
    assert [picture.info["parameters"]] == info["infotexts"]
    assert f"Steps: {info['steps']}, Sampler: {info['sampler_name']}," in info["infotexts"][0]
    assert (
        f"CFG scale: {info['cfg_scale']:g}, Seed: 3, Size: 128x128, Model hash: {info['sd_model_hash']}"
        in (info["infotexts"][0])
    )
    assert info["extra_generation_params"]["Refiner switch at"] == "0.8"
    assert (info["ignored"], info["interrupted"]) == ({}, False)


def test_pictures_are_given_back_if_they_are_wanted(server: Server) -> None:
    asked = {"prompt": PROMPT, "init_images": [PICTURE], "steps": 6, "width": 64, "height": 64}
    answer = server.post("/sdapi/v1/img2img", json={**asked, "include_init_images": True, "send_images": False}).json()
    assert answer["parameters"]["init_images"] == [PICTURE]
    assert answer["images"] == []


@pytest.mark.parametrize(
    ("path", "fields", "status", "field"),
    [
        ("img2img", {"init_images": ["http://127.0.0.1:1/a.png"]}, 400, "init_images"),
        ("img2img", {}, 400, "init_images"),
        ("img2img", {"init_images": [PICTURE], "denoising_strength": 2}, 400, "denoising_strength"),
        ("img2img", {"init_images": [PICTURE], "mask": "AAAA"}, 415, "mask"),
        ("img2img", {"init_images": [PICTURE], "mask": MASK, "inpainting_fill": 2, "denoising_strength": 0.05,
                     "steps": 20}, 400, "inpainting_fill"),
        ("img2img", {"init_images": [PICTURE], "tiling": True}, 400, "tiling"),
        ("extra-single-image", {"image": PICTURE, "upscaler_1": "ESRGAN_4x"}, 400, "upscaler_1"),
        ("extra-batch-images", {"imageList": [{"data": "AAAA", "name": "a"}]}, 415, "imageList.0.data"),
        ("png-info", {}, 400, "image"), ("interrogate", {"image": PICTURE}, 404, "model"),
        ("options", {"samples_format": "gif"}, 400, "samples_format"),
        ("options", {"sd_model_checkpoint": "v1-5"}, 404, "sd_model_checkpoint"),
        ("options", {str(number): number for number in range(2_000)}, 400, "options"),
        ("txt2img", {"sampler_index": "Restart"}, 400, "sampler_index"),
    ],
)  # fmt: skip
def test_errors_name_the_field(server: Server, path: str, fields: dict[str, Any], status: int, field: str) -> None:
    answer = server.post(f"/sdapi/v1/{path}", json={"prompt": PROMPT, **fields})
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert answer.json()["detail"].startswith(f"{field}: ")


def test_options_are_the_callers_own(guarded_server: Server) -> None:
    def send(key: str, path: str, **fields: Any) -> httpx.Response:
        return httpx.post(f"{guarded_server.url}/sdapi/v1/{path}", json=fields, auth=("me", key), timeout=100)

    def made(key: str, **fields: Any) -> str | None:
        (text,) = send(key, "txt2img", prompt=PROMPT, steps=6, **fields).json()["images"]
        return Image.open(BytesIO(base64.b64decode(text))).format

    try:
        assert send(KEYS[0], "options", samples_format="webp").status_code == 200
        assert (made(KEYS[0]), made(KEYS[1])) == ("WEBP", "PNG")
        assert made(KEYS[0], override_settings={"samples_format": "jpeg"}) == "JPEG"
    finally:
        send(KEYS[0], "options", samples_format="")


def test_what_is_there_and_does_nothing(server: Server) -> None:
    for path in ("unload-checkpoint", "reload-checkpoint", "refresh-vae", "refresh-embeddings", "refresh-loras"):
        assert server.post(f"/sdapi/v1/{path}").json() == {}
    for path in ("script-info", "extensions", "sd-modules"):
        assert httpx.get(f"{server.url}/sdapi/v1/{path}").json() == []
    assert httpx.get(f"{server.url}/internal/ping").json() == {}
    for path in ("server-kill", "server-stop", "server-restart"):
        assert server.post(f"/sdapi/v1/{path}").status_code == 404
