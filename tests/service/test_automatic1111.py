"""The situations of AUTOMATIC1111's own API tests (its folder test/, version 1.10), asked of this server.

Their names are kept, the requests and what is looked at are ours. docs/reference/other-apis.md has the same table.
"""

from __future__ import annotations

import base64
import re
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.entry.automatic1111.test_img2img import halves, square, text_of
from tests.service.server import ROOT, Server

SIZE = {"width": 64, "height": 64}
# What its tests send in every request.
COMMON: dict[str, Any] = {
    **SIZE, "batch_size": 1, "n_iter": 1, "cfg_scale": 7, "steps": 3, "seed": -1, "sampler_index": "Euler a", "eta": 0,
    "prompt": "example prompt", "negative_prompt": "", "styles": [], "subseed": -1, "subseed_strength": 0,
    "seed_resize_from_h": -1, "seed_resize_from_w": -1, "restore_faces": False, "tiling": False, "s_churn": 0,
    "s_noise": 1, "s_tmax": 0, "s_tmin": 0,
}  # fmt: skip
TXT2IMG = {**COMMON, "denoising_strength": 0, "enable_hr": False, "firstphase_width": 0, "firstphase_height": 0}
IMG2IMG = {
    **COMMON, "denoising_strength": 0.75, "init_images": [text_of(halves(64, 64))], "include_init_images": False,
    "mask": None, "mask_blur": 4, "inpainting_fill": 0, "inpaint_full_res": False, "inpaint_full_res_padding": 0,
    "inpainting_mask_invert": False, "resize_mode": 0, "override_settings": {},
}  # fmt: skip
MASK = text_of(square((16, 16, 48, 48), (64, 64)))
EXTRAS = {
    "resize_mode": 0, "show_extras_results": True, "gfpgan_visibility": 0, "codeformer_visibility": 0,
    "codeformer_weight": 0, "upscaling_resize": 2, "upscaling_resize_w": 128, "upscaling_resize_h": 128,
    "upscaling_crop": True, "upscaler_1": "Lanczos", "upscaler_2": "None", "extras_upscaler_2_visibility": 0,
}  # fmt: skip
PICTURE = text_of(halves(64, 64))
COMPLEX = "((emphasis)), (emphasis1:1.1), [to:1], [from::2], [from:to:0.3], [alt|alt1]"

# By the name of its test: the path, the body, and the field that is refused here, if it is.
SITUATIONS: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "txt2img simple": ("txt2img", TXT2IMG, None),
    "txt2img with negative prompt": ("txt2img", {**TXT2IMG, "negative_prompt": "example negative prompt"}, None),
    "txt2img with complex prompt": ("txt2img", {**TXT2IMG, "prompt": COMPLEX}, None),
    "txt2img not square image": ("txt2img", {**TXT2IMG, "height": 128}, None),
    "txt2img with hrfix": ("txt2img", {**TXT2IMG, "enable_hr": True}, None),
    "txt2img with tiling": ("txt2img", {**TXT2IMG, "tiling": True}, "tiling"),
    "txt2img with restore faces": ("txt2img", {**TXT2IMG, "restore_faces": True}, "restore_faces"),
    "txt2img with PLMS": ("txt2img", {**TXT2IMG, "sampler_index": "PLMS"}, None),
    "txt2img with DDIM": ("txt2img", {**TXT2IMG, "sampler_index": "DDIM"}, None),
    "txt2img with UniPC": ("txt2img", {**TXT2IMG, "sampler_index": "UniPC"}, None),
    "txt2img multiple batches": ("txt2img", {**TXT2IMG, "n_iter": 2}, None),
    "txt2img batch": ("txt2img", {**TXT2IMG, "batch_size": 2}, None),
    "img2img simple": ("img2img", IMG2IMG, None),
    "inpainting masked": ("img2img", {**IMG2IMG, "mask": MASK}, None),
    "inpainting with inverted mask": ("img2img", {**IMG2IMG, "mask": MASK, "inpainting_mask_invert": True}, None),
    "img2img sd upscale": (
        "img2img", {**IMG2IMG, "script_name": "sd upscale", "script_args": ["", 8, "Lanczos", 2.0]}, "script_name",
    ),
    "simple upscaling": ("extra-single-image", {**EXTRAS, "image": PICTURE}, None),
    "png info": ("extra-single-image", {"image": PICTURE}, None),
    "interrogate": ("extra-single-image", {"image": PICTURE, "model": "clip"}, None),
}  # fmt: skip
LISTS = ("cmd-flags", "samplers", "upscalers", "sd-models", "hypernetworks", "face-restorers", "realesrgan-models",
         "prompt-styles", "embeddings")  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_what_its_tests_ask_for(server: Server, name: str) -> None:
    path, body, refused = SITUATIONS[name]
    answer = server.post(f"/sdapi/v1/{path}", json=body)
    if refused:
        assert (answer.status_code, answer.json()["field"]) == (400, refused)
        assert "there " in answer.json()["detail"] or "here" in answer.json()["detail"], "the reason"
        return
    assert answer.status_code == 200, answer.text
    if path == "extra-single-image":
        expected = (128, 128) if "upscaler_1" in body else (64, 64)
        assert picture(answer.json()["image"]).size == expected
    else:
        assert len(answer.json()["images"]) == body["batch_size"] * body["n_iter"]
        for image in answer.json()["images"]:
            larger = 2 if body.get("enable_hr") else 1
            assert picture(image).size == (64 * larger, body["height"] * larger)


@pytest.mark.parametrize("name", LISTS)
def test_its_lists_are_there(server: Server, name: str) -> None:
    answer = httpx.get(f"{server.url}/sdapi/v1/{name}")
    assert answer.status_code == 200
    assert isinstance(answer.json(), dict if name in ("cmd-flags", "embeddings") else list)


def test_options_write(server: Server) -> None:
    url = f"{server.url}/sdapi/v1/options"
    before = httpx.get(url).json()["send_seed"]
    assert httpx.post(url, json={"send_seed": not before}).status_code == 200
    assert httpx.get(url).json()["send_seed"] == (not before)
    assert httpx.post(url, json={"send_seed": before}).status_code == 200
    assert httpx.get(url).json()["send_seed"] == before


def test_the_documents_table_has_all_of_them() -> None:
    page = (ROOT / "docs" / "reference" / "other-apis.md").read_text()
    rows = dict(re.findall(r"^\| ((?:txt2img|img2img|inpainting|simple|png|interrogate).*?) \| (.*) \|$", page, re.M))
    assert {name: f"`{refused}`" in rows[name] for name, (_, _, refused) in SITUATIONS.items() if refused} == {
        name: True for name, (_, _, refused) in SITUATIONS.items() if refused
    }
    assert rows.keys() >= SITUATIONS.keys()
    assert len(SITUATIONS) + len(LISTS) + 1 == 29


def picture(text: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(text)))
