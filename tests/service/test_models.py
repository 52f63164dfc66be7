"""Many models on one server, as clients of each contract name them."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import openai
import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from numpy.typing import NDArray
from PIL import Image

from tests.conftest import MINI
from tests.models_folder import ENVIRONMENT, write_folder
from tests.service.server import Server, serving
from training.judge import judge
from training.scenes import Scene, scenes
from training.styles import STYLES

PROMPT = "a red cube, white background"
FIELDS: dict[str, Any] = {"prompt": PROMPT, "seed": 3, "num_inference_steps": 6, "watermark": False}
TXT2IMG: dict[str, Any] = {"prompt": PROMPT, "seed": 3, "steps": 6}
SCENES = scenes(77, 4, held_out=True)
RIGHT_SHARE = 0.9
BASES = {"mini v", "changed/no 1 (v1.1)", "changed/no 2 (v1.2)", "changed/as a folder", "swapped", "noise"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_folder(folder)
    shutil.copytree(MINI / "refiner", folder / "checkpoints" / "mini refiner")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings: dict[str, Any] = {
        "SDXL_MODELS": folder,
        "SDXL_REFINER": "mini refiner",
        "SDXL_FIXED_ROWS": 4,
        **ENVIRONMENT,
    }
    with serving(tmp_path_factory.mktemp("many"), **settings) as running:
        yield running


def levels(file: bytes) -> NDArray[np.int64]:
    """Of a PNG: [height, width, 3]."""
    return np.asarray(Image.open(BytesIO(file)).convert("RGB")).astype(int)


def sdapi(server: Server, path: str) -> Any:
    return httpx.get(f"{server.url}/sdapi/v1/{path}").raise_for_status().json()


def test_a_request_names_its_model_in_any_usual_way(server: Server) -> None:
    default = server.post("/generate", json=FIELDS)
    assert default.headers["x-models"] == "mini v (base), mini refiner (refiner)"
    pictures = {}
    for name in ("no 1 (v1.1).safetensors", "SWAPPED", "as a folder", "sdxl"):
        answer = server.post("/generate", json={**FIELDS, "model": name, "refine": "none"})
        assert answer.status_code == 200, answer.text
        pictures[unquote(answer.headers["x-models"])] = answer.content
    assert list(pictures) == [
        "changed/no 1 (v1.1) (base)", "swapped (base)", "changed/as a folder (base)", "mini v (base)",
    ]  # fmt: skip
    assert len(set(pictures.values())) == 4
    unknown = server.post("/generate", json={**FIELDS, "model": "x"})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "model_not_found")
    assert unknown.json()["error"].startswith('model: got "x"; allowed: changed/as a folder, changed/no 1')


def test_another_base_refines(server: Server) -> None:
    answer = server.post("/generate", json={**FIELDS, "refiner_model": "swapped"})
    assert answer.headers["x-models"] == "mini v (base), swapped (refiner)"
    unknown = server.post("/generate", json={**FIELDS, "refiner_model": "x"})
    assert (unknown.status_code, unknown.json()["field"]) == (404, "refiner_model")
    refined = server.post(
        "/refine", files={"image": answer.content}, data={"prompt": PROMPT, "model": "MINI V", "seed": "1"}
    )
    assert refined.headers["x-models"] == "mini v (refiner)"


def test_a_picture_says_by_which_models_it_was_made(server: Server) -> None:
    made = server.post("/generate", json={**FIELDS, "model": "no 2 (v1.2)", "refiner_model": "mini refiner"})
    told = server.post("/provenance", files={"image": made.content}).json()
    request = told["sdxl_relay"]["request"]
    assert (request["model"], request["refiner_model"]) == ("changed/no 2 (v1.2)", "mini refiner")
    server.post("/sdapi/v1/refresh-checkpoints")  # the entry asks each second, and a load makes the SHA-256 known
    (item,) = [item for item in sdapi(server, "sd-models") if item["model_name"] == "changed/no 2 (v1.2)"]
    digests = told["sdxl_relay"]["checkpoints"]
    assert digests["base"] == item["sha256"], "the file's own"
    assert (told["parameters_parsed"]["model"], told["parameters_parsed"]["model_hash"]) == (
        "changed/no 2 (v1.2)", item["hash"],
    )  # fmt: skip
    assert told["parameters_parsed"]["others"]["Refiner"] == f"mini refiner [{digests['refiner'][:10]}]"
    again = server.post("/generate", json=request)
    assert again.content == made.content


def test_the_items_of_a_batch_name_different_models(server: Server) -> None:
    names = ["mini v", "swapped", None, "x"]
    answer = server.post("/generate_batch", json={"requests": [{**FIELDS, "model": name} for name in names]})
    results = answer.json()
    assert [result["models"].get("base") for result in results] == ["mini v", "swapped", "mini v", None]
    assert results[3]["error"]["code"] == "model_not_found"


def test_openais_client(server: Server) -> None:
    extra: dict[str, Any] = {"seed": 3, "num_inference_steps": 6}
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        assert {model.id for model in client.models.list()} == BASES
        assert client.models.retrieve("swapped").id == "swapped"
        assert client.models.retrieve("changed/no 1 (v1.1)").id == "changed/no 1 (v1.1)"
        for asked, found in (("dall-e-3", "mini v"), ("sdxl", "mini v"), ("Swapped", "swapped")):
            answer = client.images.generate(model=asked, prompt=PROMPT, extra_body=extra)
            assert answer.model_extra is not None
            assert answer.model_extra["model"] == found
        with pytest.raises(openai.NotFoundError, match=r"model: got .*; allowed: changed") as unknown:
            client.images.generate(model="x", prompt=PROMPT)
        assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.NotFoundError, match="refiner: got") as unknown:
            client.images.generate(prompt=PROMPT, extra_body={**extra, "refiner": {"model": "x"}})
        assert unknown.value.param == "refiner"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("x")


def test_automatic1111s_clients(server: Server) -> None:
    swapped = server.generate(**FIELDS, model="swapped", refiner_model="mini v")
    items = {item["model_name"]: item for item in sdapi(server, "sd-models")}
    assert items.keys() == {*BASES, "mini refiner"}
    title = items["swapped"]["title"]
    assert title == f"swapped.safetensors [{items['swapped']['sha256'][:10]}]", "it has been loaded"
    assert items["noise"]["title"] in ("noise.safetensors", f"noise.safetensors [{items['noise']['hash']}]")
    for checkpoint in ("swapped", title, items["swapped"]["hash"]):
        fields = {"override_settings": {"sd_model_checkpoint": checkpoint}, "refiner_checkpoint": "mini v.safetensors"}
        answer = server.post("/sdapi/v1/txt2img", json={**TXT2IMG, **fields}).json()
        info = json.loads(answer["info"])
        assert info["sd_model_name"] == "swapped"
        assert "Model: swapped, " in info["infotexts"][0]
        assert f"Refiner: mini v [{items['mini v']['hash']}]" in info["infotexts"][0]
        picture = base64.b64decode(answer["images"][0])
        assert np.abs(levels(picture) - swapped.astype(int)).max() <= 2
    options = sdapi(server, "options")
    assert options["sd_model_checkpoint"] == items["mini v"]["title"]
    assert server.post("/sdapi/v1/options", json=options).status_code == 200
    refused = server.post("/sdapi/v1/options", json={"sd_model_checkpoint": "x"})
    assert (refused.status_code, refused.json()["field"]) == (404, "sd_model_checkpoint")
    try:
        assert server.post("/sdapi/v1/options", json={"sd_model_checkpoint": "swapped"}).status_code == 200
        assert sdapi(server, "options")["sd_model_checkpoint"] == title
        info = json.loads(server.post("/sdapi/v1/txt2img", json=TXT2IMG).json()["info"])
        assert info["sd_model_name"] == "swapped", "for requests that name none"
    finally:
        server.post("/sdapi/v1/options", json={"sd_model_checkpoint": ""})
    assert sdapi(server, "options")["sd_model_checkpoint"] == options["sd_model_checkpoint"]
    unknown = server.post("/sdapi/v1/txt2img", json={**TXT2IMG, "refiner_checkpoint": "x"})
    assert (unknown.status_code, unknown.json()["error"].split(":")[0]) == (404, "refiner_checkpoint")


def test_lists_of_what_else_there_is(server: Server) -> None:
    assert {item["name"] for item in sdapi(server, "loras")} == {
        *(f"style {number}" for number in range(5)), *(f"kohya_{number}" for number in range(3)), *STYLES,
    }  # fmt: skip
    assert sdapi(server, "sd-vae") == [{"model_name": "red and blue", "filename": "red and blue.safetensors"}]
    assert set(sdapi(server, "embeddings")["loaded"]) == {"thing", "other-thing"}
    answer = server.post("/generate", json={**FIELDS, "loras": [{"name": "STYLE 1.safetensors", "scale": 0.5}]})
    assert answer.headers["x-loras"] == "style 1=0.5 (base)"
    unknown = server.post("/sdapi/v1/txt2img", json={**TXT2IMG, "prompt": "a cube <lora:x:1>"})
    assert (unknown.status_code, unknown.json()["field"]) == (400, "prompt")
    assert "kohya_0, kohya_1" in unknown.json()["error"]


def test_a_file_that_comes_or_goes_is_known_after_a_refresh(server: Server, folder: Path) -> None:
    checkpoints = folder / "checkpoints"
    shutil.copy(checkpoints / "mini v.safetensors", checkpoints / "late.safetensors")
    assert server.post("/sdapi/v1/refresh-checkpoints").status_code == 200
    answer = server.post("/generate", json={**FIELDS, "model": "late"})
    assert answer.headers["x-models"] == "late (base), mini refiner (refiner)"
    (checkpoints / "late.safetensors").unlink()
    assert server.post("/sdapi/v1/refresh-checkpoints").status_code == 200
    assert server.post("/generate", json={**FIELDS, "model": "late"}).status_code == 404
    for kind in ("loras", "vae", "embeddings"):
        assert server.post(f"/sdapi/v1/refresh-{kind}").status_code == 200
    report = httpx.get(f"{server.url}/readyz").json()
    assert set(report["base"]["models"]) == BASES
    assert set(report["refiner"]["models"]) == {*BASES, "mini refiner"}
    assert "mini refiner" in report["refiner"]["resident"]


def test_pictures_of_all_are_right(server: Server) -> None:
    def plain(picture: NDArray[np.uint8], scene: Scene) -> bool:
        return judge(picture, scene).all_right

    wanted: dict[str, tuple[dict[str, Any], Callable[[NDArray[np.uint8], Scene], bool]]] = {
        **{name: ({"model": name}, plain) for name in BASES - {"noise", "swapped"}},
        # The stage that ends a picture decodes it, and the refiner has a VAE of its own.
        "swapped": ({"model": "swapped", "refine": "none"}, lambda picture, scene: plain(picture[..., ::-1], scene)),
    }
    for name, style in STYLES.items():
        wanted[name] = {"loras": [{"name": name}], "refine": "none"}, style.is_right

    def is_right(case: tuple[str, Scene]) -> bool:
        fields, rule = wanted[case[0]]
        return rule(server.generate(prompt=case[1].caption, seed=5, num_inference_steps=20, **fields), case[1])

    cases = [(name, scene) for scene in SCENES for name in wanted]
    with ThreadPoolExecutor(len(cases)) as pool:
        right = list(pool.map(is_right, cases))
    wrong = [f"{name}: {scene.caption}" for (name, scene), ok in zip(cases, right, strict=True) if not ok]
    assert sum(right) >= RIGHT_SHARE * len(cases), wrong


def test_the_one_that_predicts_noise_draws_what_diffusers_draws(server: Server, folder: Path) -> None:
    fields: dict[str, Any] = {"prompt": "noise", "num_inference_steps": 8, "guidance_scale": 3.0}
    ours = server.generate(**fields, model="noise", refine="none", seed=5, width=128, height=128, watermark=False)
    pipeline = StableDiffusionXLPipeline.from_single_file(
        str(folder / "checkpoints" / "noise.safetensors"),
        config=str(MINI / "base"),
        add_watermarker=False,
        local_files_only=True,
    )
    pipeline.scheduler.register_to_config(prediction_type="epsilon")
    theirs = pipeline(**fields, generator=torch.Generator().manual_seed(5), output_type="np").images[0]
    assert np.abs(ours / 255 - theirs).max() <= 2 / 255
