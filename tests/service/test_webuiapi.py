"""The Python package webuiapi, driven against the running server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import numpy as np
import pytest
import webuiapi

from tests.entry.automatic1111.test_img2img import halves, square
from tests.service.server import Server

FEW = {"steps": 6, "width": 128, "height": 128, "cfg_scale": 3.0}
PROMPT = "a red cube, white background"


@pytest.fixture
def api(server: Server) -> Iterator[webuiapi.WebUIApi]:
    """Leaves no options behind."""
    address = urlsplit(server.url)
    made = webuiapi.WebUIApi(host=address.hostname, port=address.port, sampler="Euler")
    yield made
    made.set_options({"sd_model_checkpoint": "", "samples_format": "", "CLIP_stop_at_last_layers": ""})
    made.session.close()


def test_txt2img(api: webuiapi.WebUIApi) -> None:
    result = api.txt2img(prompt=PROMPT, negative_prompt="a cone", seed=3, batch_size=2, **FEW)
    assert [image.size for image in result.images] == [(128, 128)] * 2
    assert result.info["all_seeds"] == [3, 4]
    assert (result.info["steps"], result.info["cfg_scale"], result.info["sampler_name"]) == (6, 3.0, "Euler")
    assert result.info["ignored"].keys() == {"eta"}
    for image, text in zip(result.images, result.info["infotexts"], strict=True):
        assert image.info["parameters"] == text
    assert result.parameters["seed"] == 3


def test_img2img_and_inpainting(api: webuiapi.WebUIApi) -> None:
    plain = api.img2img(images=[halves()], prompt=PROMPT, seed=3, denoising_strength=0.5, **FEW)
    assert plain.image.size == (128, 128)
    mask = square((64, 32, 112, 96))
    options = {"mask_image": mask, "inpainting_fill": 1, "inpaint_full_res": False, "mask_blur": 4}
    masked = api.img2img(images=[halves()], prompt=PROMPT, seed=3, denoising_strength=0.9, **options, **FEW)
    before, after = (np.asarray(image.convert("RGB")).astype(int) for image in (halves(), masked.image))
    assert np.abs(after - before)[:, :40].max() <= 1, "what is kept, but for the watermark"
    assert np.abs(after - before)[40:88, 72:104].mean() > 10
    assert masked.info["denoising_strength"] == 0.9
    assert "init_images" not in masked.parameters


def test_extras_and_png_info(api: webuiapi.WebUIApi) -> None:
    made = api.txt2img(prompt=PROMPT, seed=3, **FEW).image
    larger = api.extra_single_image(made, upscaler_1=webuiapi.Upscaler.Lanczos, upscaling_resize=2)
    assert larger.image.size == (256, 256)
    several = api.extra_batch_images([made, made], upscaler_1=webuiapi.Upscaler.Nearest, upscaling_resize=1.5)
    assert [image.size for image in several.images] == [(192, 192)] * 2
    told = api.png_info(made)
    assert told.info.startswith(f"{PROMPT}\n")
    assert (told.parameters["Prompt"], told.parameters["Seed"], told.parameters["Size-1"]) == (PROMPT, "3", "128")
    with pytest.raises(RuntimeError, match="there is none here that describes pictures"):
        api.interrogate(made)


def test_options(api: webuiapi.WebUIApi) -> None:
    assert api.util_get_current_model().startswith("mini [")
    api.set_options({"samples_format": "jpg", "CLIP_stop_at_last_layers": 3, "quicksettings": "a, b"})
    result = api.txt2img(prompt=PROMPT, seed=3, **FEW)
    assert result.image.format == "JPEG"
    assert result.info["clip_skip"] == 3
    assert api.get_options()["quicksettings"] == "a, b"
    api.util_set_model("mini")
    assert api.util_get_current_model().startswith("mini [")


def test_lists_and_progress(api: webuiapi.WebUIApi) -> None:
    assert {"Euler", "Euler a", "DDIM"} <= set(api.util_get_sampler_names())
    assert "automatic" in api.util_get_scheduler_names()
    assert [re.sub(r" \[.*", "", title) for title in api.util_get_model_names()] == ["mini", "mini/refiner"]
    assert [each["name"] for each in api.get_upscalers()] == ["None", "Lanczos", "Nearest"]
    assert api.get_scripts() == {"txt2img": [], "img2img": []}
    assert api.get_latent_upscale_modes() == [{"name": "Latent"}]
    for nothing in (api.get_hypernetworks, api.get_face_restorers,
                    api.get_realesrgan_models, api.get_prompt_styles, api.get_loras, api.get_sd_vae):  # fmt: skip
        assert nothing() == []
    assert api.get_cmd_flags()["api"] is True
    assert api.get_memory().keys() == {"ram", "cuda"}
    assert api.get_embeddings() == {"loaded": {}, "skipped": {}}
    assert api.refresh_checkpoints() == api.skip() == api.interrupt() == {}
    progress = api.get_progress()
    assert (progress["progress"], progress["state"]["job_count"], progress["state"]["sampling_steps"]) == (0, 0, 0)
    api.util_wait_for_ready()
