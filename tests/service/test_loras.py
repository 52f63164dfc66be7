"""LoRAs chosen by requests: what diffusers' set_adapters gives, beside jobs with others or none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from entry.automatic1111.lists import lora_items
from entry.automatic1111.requests import Txt2Img
from sdxl.errors import RelayError
from tests.conftest import MINI
from tests.in_process import Studio, as_pixels, metadata_of_file, record_of_file, studio
from tests.sdxl.models.lora_files import RANK, write_diffusers, write_kohya, write_sgm
from tests.service.edit_reference import EditReference
from tests.service.reference import Reference, distance
from tests.service.server import Server
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
        self.pipelines = Reference(MINI)
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
def diffusers_own(tmp_path_factory: pytest.TempPathFactory) -> LoraReference:
    return LoraReference(tmp_path_factory.mktemp("loras"))


@pytest.fixture(scope="module")
def with_loras(diffusers_own: LoraReference) -> Iterator[Studio]:
    settings = {"loras": diffusers_own.setting("base"), "refiner_loras": diffusers_own.setting("refiner")}
    with studio(max_rows=16, **settings) as opened:
        yield opened


def asked(scales: dict[str, float]) -> list[dict[str, Any]]:
    return [{"name": name, "scale": scale} for name, scale in scales.items()]


def test_jobs_with_unlike_loras_at_the_same_time(with_loras: Studio, diffusers_own: LoraReference) -> None:
    plain = diffusers_own.set_adapters({}).generate(**REQUEST)
    cases = [
        (scales, told, {**REQUEST, "refine": refine, "loras": asked(scales)})
        for refine, choices in (("ensemble", CHOICES), ("none", CHOICES[4:]))
        for scales, told in choices
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        files = list(pool.map(lambda case: with_loras.generated(**case[2]), cases))
    for (scales, told, fields), file in zip(cases, files, strict=True):
        wanted = {name: value for name, value in fields.items() if name != "loras"}
        picture = as_pixels(file)
        assert distance(picture, diffusers_own.set_adapters(scales).generate(**wanted)) <= 2, (scales, fields)
        if fields["refine"] == "ensemble":
            assert file.loras == told
            assert (distance(picture, plain) > 20) == bool(scales)


def test_without_loras_the_same_bytes_as_of_a_server_without_any(mini: Studio, with_loras: Studio) -> None:
    for scales in ({STYLE: 1.0}, {}, {STYLE: 0.0}):
        file = with_loras.generated(**REQUEST, loras=asked(scales), metadata=False)
        plain = mini.generated(**REQUEST, metadata=False)
        assert (file.data == plain.data) == (scales != {STYLE: 1.0})


def test_the_order_in_the_request_makes_no_difference(with_loras: Studio) -> None:
    loras = asked({STYLE: 0.5, OFFSET: 0.5})
    one, other = (with_loras.generate(**REQUEST, loras=order) for order in (loras, loras[::-1]))
    assert np.array_equal(one, other)


def test_a_picture_says_it_and_its_record_gives_it_again(with_loras: Studio) -> None:
    file = with_loras.generated(**REQUEST, loras=[{"name": STYLE}, {"name": OFFSET, "scale": 0.3}])
    metadata = metadata_of_file(file.data)
    assert metadata.parameters is not None
    assert metadata.parameters.startswith(f"{REQUEST['prompt']} <lora:style:1> <lora:{OFFSET}:0.3>\n")
    record = record_of_file(file.data)
    assert [*record["loras"]["base"]] == [OFFSET, STYLE]
    assert [*record["loras"]["refiner"]] == [STYLE]
    assert record["loras"]["base"][STYLE] != record["loras"]["refiner"][STYLE], "digests of two files"
    assert with_loras.generated(**record["request"]).data == file.data


def test_every_form_of_the_answer_says_where_they_were_applied(with_loras: Studio) -> None:
    """The header of /generate; the items of /generate_batch and the result of /generate_stream."""
    file = with_loras.generated(**REQUEST, loras=asked({OFFSET: 1.0}))
    assert file.as_response().headers["x-loras"] == f"{OFFSET}=1 (base)"
    assert file.as_json()["loras"] == f"{OFFSET}=1 (base)"
    plain = with_loras.generated(**REQUEST)
    assert "x-loras" not in plain.as_response().headers
    assert plain.as_json()["loras"] is None


def test_in_the_forms_of_pictures(mini: Studio, with_loras: Studio, diffusers_own: LoraReference) -> None:
    fields = {**REQUEST, "strength": 0.7}
    original = mini.generated(**REQUEST).data
    picture = Image.open(BytesIO(original)).convert("RGB")
    reference = diffusers_own.set_adapters({STYLE: 0.8})
    refined = with_loras.refine(original, **fields, loras=asked({STYLE: 0.8}))
    assert distance(refined, reference.refined(picture, **fields)) <= 2
    edited = with_loras.edit(original, **fields, loras=asked({STYLE: 0.8}))
    assert distance(edited, EditReference(reference).edit(picture, **fields)) <= 2
    with pytest.raises(RelayError, match=r"allowed: finish, style$") as unknown:
        with_loras.refine(original, **fields, loras=asked({OFFSET: 1}))
    assert (unknown.value.status, unknown.value.field) == (400, "loras")


BAD: list[tuple[Any, str]] = [
    ([{"name": STYLE}, {"name": "no"}], "loras"), ([{"name": "a:b"}], "loras.0.name"), ([{}], "loras.0.name"),
    ([{"name": STYLE, "scale": 4.1}], "loras.0.scale"), ([{"name": STYLE, "scale": "1"}], "loras.0.scale"),
    ([{"name": STYLE, "scale": None}], "loras.0.scale"), ([{"name": STYLE, "weight": 1}], "loras.0.weight"),
    ([{"name": STYLE}, {"name": STYLE}], "loras"), ([{"name": f"a{i}"} for i in range(9)], "loras"),
    (STYLE, "loras"), ({STYLE: 1}, "loras"), ([STYLE], "loras.0"),
]  # fmt: skip


@pytest.mark.parametrize(("loras", "field"), BAD, ids=lambda value: str(value)[:30])
def test_what_is_not_allowed_is_named(server: Server, loras: Any, field: str) -> None:
    answer = server.post("/generate", json={**REQUEST, "loras": loras})
    assert_names(answer, "loras")
    assert answer.json()["field"] == field


def test_an_unknown_name_lists_the_known_ones(server: Server, with_loras: Studio) -> None:
    with pytest.raises(RelayError, match=f"allowed: finish, {re.escape(OFFSET)}, style$"):
        with_loras.generate(**REQUEST, loras=[{"name": "no"}])
    answer = server.post("/generate", json={**REQUEST, "loras": [{"name": "no"}]})
    assert_names(answer, "loras")
    assert "none, for the server has no LoRAs" in answer.json()["error"]


def test_automatic1111s_words_for_them(server: Server, with_loras: Studio) -> None:
    assert [item["name"] for item in lora_items(with_loras.fleet.offers)] == [FINISH, OFFSET, STYLE]
    assert httpx.get(f"{server.url}/sdapi/v1/loras").json() == []
    ours = with_loras.generate(**REQUEST, loras=asked({STYLE: 0.8, OFFSET: 1.0}))
    prompt = f"{REQUEST['prompt']} <lora:{OFFSET}><lora:style:0.8>"
    (theirs,) = Txt2Img(prompt=prompt, steps=8, cfg_scale=3.0, sampler_name="Euler").requests([7])
    assert distance(with_loras.generate(**theirs.model_dump(mode="json")), ours) <= 2
    own = with_loras.generated(**{**REQUEST, "prompt": prompt}, prompt_syntax="a1111")
    assert np.array_equal(as_pixels(own), with_loras.generate(**theirs.model_dump(mode="json")))
    assert (record := record_of_file(own.data)["request"])["prompt"] == f"{REQUEST['prompt']}"
    assert [lora["name"] for lora in record["loras"]] == [OFFSET, STYLE]
    with pytest.raises(RelayError, match=r"^loras: .* style has been named before|^prompt: .*each name once"):
        with_loras.generate(**{**REQUEST, "prompt": prompt}, prompt_syntax="a1111", loras=asked({STYLE: 1}))
    literal = with_loras.generate(**{**REQUEST, "prompt": prompt})
    assert np.array_equal(literal, with_loras.generate(**{**REQUEST, "prompt": prompt}, prompt_syntax="plain"))
    unknown = server.post("/sdapi/v1/txt2img", json={"prompt": "a cube <lora:no:1>"})
    assert_names(unknown, "prompt")
