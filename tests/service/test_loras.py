"""LoRAs chosen by requests: what diffusers' set_adapters gives, beside jobs with others or none."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import MINI
from tests.sdxl.models.lora_files import RANK, write_diffusers, write_kohya, write_sgm
from tests.service.edit_reference import EditReference
from tests.service.reference import Reference, distance
from tests.service.server import Server, pixels, serving
from tests.service.test_bad_input import assert_names

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`")  # of diffusers' own, with two LoRAs

STYLE, OFFSET, FINISH = "style", "sd_xl_offset_example-lora_1.0", "finish"
REQUEST: dict[str, Any] = {"prompt": "a red cube on top of a blue sphere, yellow background", "seed": 7,
                           "num_inference_steps": 8, "guidance_scale": 3.0}  # fmt: skip
# Their scales, and where they are applied in an ensemble.
CHOICES: list[tuple[dict[str, float], str | None]] = [
    ({}, None),
    ({STYLE: 0.8}, "style=0.8 (base + refiner)"),
    ({OFFSET: 1.0}, f"{OFFSET}=1 (base)"),
    ({FINISH: -0.5}, "finish=-0.5 (refiner)"),
    ({STYLE: 0.8, OFFSET: 0.3}, f"style=0.8 (base + refiner), {OFFSET}=0.3 (base)"),
    ({FINISH: 1.5, STYLE: -1.0}, "finish=1.5 (refiner), style=-1 (base + refiner)"),
]


class LoraReference:
    """diffusers' pipelines over the same files."""

    def __init__(self, folder: Path) -> None:
        """Writes the files into the folder."""
        self.pipelines = Reference.load(MINI)
        base, refiner = self.pipelines.base, self.pipelines.refiner
        encoders = ["text_encoder", "text_encoder_2"]
        self.files = {
            "base": {
                STYLE: write_diffusers(folder / "style.safetensors", base, ["unet", *encoders], seed=1),
                OFFSET: write_sgm(folder / "offset.safetensors", base, seed=2, alpha=RANK / 2),
            },
            "refiner": {
                STYLE: write_kohya(folder / "style_r.safetensors", refiner, ["unet", "text_encoder_2"], seed=3),
                FINISH: write_diffusers(folder / "finish.safetensors", refiner, ["unet"], seed=4),
            },
        }
        self.names = {STYLE: "a", OFFSET: "b", FINISH: "c"}  # diffusers has no place for a dot
        for stage, files in self.files.items():
            for name, path in files.items():
                getattr(self.pipelines, stage).load_lora_weights(str(path), adapter_name=self.names[name])

    def setting(self, stage: str) -> str:
        return ", ".join(f"{name}={path}" for name, path in self.files[stage].items())

    def set_adapters(self, scales: dict[str, float]) -> Reference:
        for stage, files in self.files.items():
            pipeline = getattr(self.pipelines, stage)
            here = {self.names[name]: scale for name, scale in scales.items() if name in files}
            pipeline.enable_lora()
            if here:
                pipeline.set_adapters(list(here), list(here.values()))
            else:
                pipeline.disable_lora()
        return self.pipelines


@pytest.fixture(scope="module")
def diffusers_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoraReference]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # beside a server on the same cores, more threads wait for one another
    yield LoraReference(tmp_path_factory.mktemp("loras"))
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def lora_server(diffusers_own: LoraReference, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(
        tmp_path_factory.mktemp("bentoml"),
        SDXL_MAX_ROWS=16,
        SDXL_LORAS=diffusers_own.setting("base"),
        SDXL_REFINER_LORAS=diffusers_own.setting("refiner"),
    ) as running:
        yield running


def asked(scales: dict[str, float]) -> list[dict[str, Any]]:
    return [{"name": name, "scale": scale} for name, scale in scales.items()]


def test_jobs_with_unlike_loras_at_the_same_time(lora_server: Server, diffusers_own: LoraReference) -> None:
    plain = diffusers_own.set_adapters({}).generate(**REQUEST)
    cases = [
        (scales, told, {**REQUEST, "refine": refine, "loras": asked(scales)})
        for refine, choices in (("ensemble", CHOICES), ("none", CHOICES[4:]))
        for scales, told in choices
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        answers = list(pool.map(lambda case: lora_server.post("/generate", json=case[2]), cases))
    for (scales, told, fields), answer in zip(cases, answers, strict=True):
        wanted = {name: value for name, value in fields.items() if name != "loras"}
        assert distance(pixels(answer), diffusers_own.set_adapters(scales).generate(**wanted)) <= 2, (scales, fields)
        if fields["refine"] == "ensemble":
            assert answer.headers.get("x-loras") == told
            assert (distance(pixels(answer), plain) > 20) == bool(scales)
    assert lora_server.metric("sdxl_relay_jobs_waited_seconds_total", stage="base", reason="adapters") > 0


def test_without_loras_the_same_bytes_as_of_a_server_without_any(server: Server, lora_server: Server) -> None:
    for scales in ({STYLE: 1.0}, {}, {STYLE: 0.0}):
        answer = lora_server.post("/generate", json={**REQUEST, "loras": asked(scales), "metadata": False})
        plain = server.post("/generate", json={**REQUEST, "metadata": False})
        assert (answer.content == plain.content) == (scales != {STYLE: 1.0})


def test_the_order_in_the_request_makes_no_difference(lora_server: Server) -> None:
    loras = asked({STYLE: 0.5, OFFSET: 0.5})
    one, other = (lora_server.generate(**REQUEST, loras=order) for order in (loras, loras[::-1]))
    assert np.array_equal(one, other)


def test_a_picture_says_it_and_its_record_gives_it_again(lora_server: Server) -> None:
    answer = lora_server.post("/generate", json={**REQUEST, "loras": [{"name": STYLE}, {"name": OFFSET, "scale": 0.3}]})
    told = lora_server.post("/provenance", files={"image": answer.content}).json()
    assert told["parameters"].startswith(f"{REQUEST['prompt']} <lora:style:1> <lora:{OFFSET}:0.3>\n")
    record = told["sdxl_relay"]
    assert [*record["loras"]["base"]] == [OFFSET, STYLE]
    assert [*record["loras"]["refiner"]] == [STYLE]
    assert record["loras"]["base"][STYLE] != record["loras"]["refiner"][STYLE], "digests of two files"
    assert lora_server.post("/generate", json=record["request"]).content == answer.content


def test_in_a_batch_and_in_a_stream(lora_server: Server) -> None:
    fields = {**REQUEST, "loras": asked({OFFSET: 1.0})}
    result = lora_server.post("/generate_batch", json={"requests": [fields, REQUEST]}).json()
    assert [item["loras"] for item in result] == [f"{OFFSET}=1 (base)", None]
    picture = np.asarray(Image.open(BytesIO(base64.b64decode(result[0]["picture"]))).convert("RGB"))
    assert distance(picture, lora_server.generate(**fields)) <= 2
    assert f'"loras": "{OFFSET}=1 (base)"' in lora_server.post("/generate_stream", json=fields).text


def test_in_the_forms_of_pictures(server: Server, lora_server: Server, diffusers_own: LoraReference) -> None:
    fields = {**REQUEST, "strength": 0.7}
    original = server.post("/generate", json=REQUEST).content
    form = {**fields, "loras": json.dumps(asked({STYLE: 0.8}))}
    files = {"image": ("picture.png", original, "image/png")}
    picture = Image.open(BytesIO(original)).convert("RGB")
    reference = diffusers_own.set_adapters({STYLE: 0.8})
    refined = lora_server.post("/refine", data=form, files=files)
    assert refined.headers["x-loras"] == "style=0.8 (refiner)"
    assert distance(pixels(refined), reference.refined(picture, **fields)) <= 2
    edited = lora_server.post("/edit", data=form, files=files)
    assert edited.headers["x-loras"] == "style=0.8 (base + refiner)"
    assert distance(pixels(edited), EditReference(reference).edit(picture, **fields)) <= 2
    unknown = lora_server.post("/refine", data={**fields, "loras": json.dumps(asked({OFFSET: 1}))}, files=files)
    assert_names(unknown, "loras")
    assert unknown.json()["error"].endswith("allowed: finish, style")


BAD: list[tuple[Any, str]] = [
    ([{"name": STYLE}, {"name": "no"}], "loras"), ([{"name": "a b"}], "loras.0.name"), ([{}], "loras.0.name"),
    ([{"name": STYLE, "scale": 4.1}], "loras.0.scale"), ([{"name": STYLE, "scale": "1"}], "loras.0.scale"),
    ([{"name": STYLE, "scale": None}], "loras.0.scale"), ([{"name": STYLE, "weight": 1}], "loras.0.weight"),
    ([{"name": STYLE}, {"name": STYLE}], "loras"), ([{"name": f"a{i}"} for i in range(9)], "loras"),
    (STYLE, "loras"), ({STYLE: 1}, "loras"), ([STYLE], "loras.0"),
]  # fmt: skip


@pytest.mark.parametrize(("loras", "field"), BAD, ids=lambda value: str(value)[:30])
def test_what_is_not_allowed_is_named(lora_server: Server, loras: Any, field: str) -> None:
    answer = lora_server.post("/generate", json={**REQUEST, "loras": loras})
    assert_names(answer, "loras")
    assert answer.json()["field"] == field


def test_an_unknown_name_lists_the_known_ones(server: Server, lora_server: Server) -> None:
    fields = {**REQUEST, "loras": [{"name": "no"}]}
    assert lora_server.post("/generate", json=fields).json()["error"].endswith(f"allowed: finish, {OFFSET}, style")
    assert "none, for the server has no LoRAs" in server.post("/generate", json=fields).json()["error"]


def test_automatic1111s_words_for_them(lora_server: Server) -> None:
    found = httpx.get(f"{lora_server.url}/sdapi/v1/loras").json()
    assert [item["name"] for item in found] == [FINISH, OFFSET, STYLE]
    ours = lora_server.generate(**REQUEST, loras=asked({STYLE: 0.8, OFFSET: 1.0}))
    fields = {"seed": 7, "steps": 8, "cfg_scale": 3.0, "sampler_name": "Euler"}

    def theirs(prompt: str, **more: Any) -> httpx.Response:
        return lora_server.post("/sdapi/v1/txt2img", json={**fields, "prompt": prompt, **more})

    answer = theirs(f"{REQUEST['prompt']} <lora:{OFFSET}><lora:style:0.8>").json()
    picture = np.asarray(Image.open(BytesIO(base64.b64decode(answer["images"][0]))).convert("RGB"))
    assert distance(picture, ours) <= 2
    unknown = theirs("a cube <lora:no:1>")
    assert_names(unknown, "prompt")
    assert unknown.json()["error"].endswith(f"allowed: finish, {OFFSET}, style")
