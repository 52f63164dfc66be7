"""So few steps that a stage would have none: the base alone, unless somebody asked for the refiner."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from sdxl.errors import RelayError
from tests.in_process import Studio, record_of_file, studio
from tests.sdxl.models.test_presets import with_relay
from tests.service.server import Server
from tests.service.test_refine import a_picture, as_png

PROMPT = "a green cone, white background"
FEW: dict[str, Any] = {"prompt": PROMPT, "seed": 3, "width": 64, "height": 64, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def sdedit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A pair whose way of refining is sdedit."""
    base = with_relay(tmp_path_factory.mktemp("sdedit") / "base", refine="sdedit", strength=0.3)
    with studio(base=base, max_rows=4) as opened:
        yield opened


@pytest.mark.parametrize("fields", [
    {"num_inference_steps": 1}, {"num_inference_steps": 2, "scheduler": "lcm"},
    {"num_inference_steps": 4, "high_noise_frac": 0.01}, {"num_inference_steps": 1, "schedule": "sgm_uniform"},
], ids=str)  # fmt: skip
def test_the_base_makes_the_picture_alone(mini: Studio, fields: dict[str, Any]) -> None:
    made, alone = (mini.generated(**FEW, **fields, **more) for more in ({}, {"refine": "none"}))
    assert made.warnings["refiner"].startswith(f"left out: with num_inference_steps {fields['num_inference_steps']},")
    assert "x-refiner" in made.warning_headers
    assert "refiner" not in alone.warnings
    assert made.data == alone.data, "its record says refine: none, too"
    record = record_of_file(made.data)
    assert record["request"]["refine"] == "none"
    assert set(record["checkpoints"]) == {"base"}


@pytest.mark.parametrize("asked", [{"refine": "ensemble"}, {"refiner_model": "mini/refiner"}], ids=str)
def test_who_asks_for_the_refiner_gets_an_error(server: Server, asked: dict[str, Any]) -> None:
    answer = server.post("/generate", json={**FEW, "num_inference_steps": 1, **asked})
    assert (answer.status_code, answer.json()["code"]) == (400, "no_step"), answer.text


def test_enough_steps_are_refined(mini: Studio) -> None:
    made = mini.generated(**FEW, num_inference_steps=5)
    assert list(made.models) == ["base", "refiner"]
    assert made.warnings.keys() <= {"watermark"}


def test_sdedit_by_default(sdedit: Studio) -> None:
    made = sdedit.generated(**FEW, num_inference_steps=3)
    assert made.warnings["refiner"].startswith("left out")
    assert list(sdedit.generated(**FEW, num_inference_steps=4).models) == ["base", "refiner"]
    for asked in ({"refine": "sdedit"}, {"strength": 0.2}):
        with pytest.raises(RelayError, match="strength: got"):
            sdedit.generated(**FEW, num_inference_steps=3, **asked)


def test_an_edit(mini: Studio) -> None:
    fields: dict[str, Any] = {
        "prompt": PROMPT,
        "seed": 3,
        "num_inference_steps": 2,
        "strength": 1.0,
        "high_noise_frac": 0.9999,
    }
    made = mini.edited(as_png(a_picture()), **fields)
    assert made.warnings["refiner"].startswith("left out")
    assert record_of_file(made.data)["request"]["refine"] == "none"
    with pytest.raises(RelayError, match="none falls to the refiner"):
        mini.edited(as_png(a_picture()), **fields, refine="ensemble")
    with pytest.raises(RelayError, match="strength: got"):
        mini.edited(as_png(a_picture()), **{**fields, "strength": 0.4})


def test_other_contracts(server: Server) -> None:
    answer = server.post("/sdapi/v1/txt2img", json={"prompt": PROMPT, "steps": 1, "seed": 3})
    assert answer.status_code == 200, answer.text
    answer = server.post(
        "/v1/images/generations",
        json={"prompt": PROMPT, "num_inference_steps": 1, "seed": 3, "scheduler": "dpmpp_2m_karras"},
    )
    assert answer.status_code == 200, answer.text
    (item,) = answer.json()["data"]
    assert item["warnings"]["refiner"].startswith("left out")
    request = record_of_file(base64.b64decode(item["b64_json"]))["request"]
    assert (request["scheduler"], request["schedule"], request["refine"]) == ("dpmpp_2m", "karras", "none")
    answer = server.post("/v1/images/generations", json={"prompt": PROMPT, "scheduler": "ddim", "schedule": "beta"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "schedule")


def test_a_batch(server: Server) -> None:
    few = {**FEW, "num_inference_steps": 1}
    results = server.post("/generate_batch", json={"requests": [few, {**few, "refine": "ensemble"}]}).json()
    assert results[0]["warnings"]["refiner"].startswith("left out")
    assert results[1]["error"]["code"] == "no_step"
