"""Pictures of the running server tell how they were made, /provenance reads it, and what they say makes them again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import httpx
import numpy as np
import pytest
from PIL import Image

from sdxl.config.settings import MINI
from sdxl.models.checkpoint import digest
from sdxl.models.files import files_of
from sdxl.picture.watermark import with_watermark
from sdxl.request.fields import OutputFormat
from sdxl.version import VERSION
from tests.in_process import Studio, studio
from tests.sdxl.picture.certificates import make_pair
from tests.sdxl.picture.pictures import encoded, png_with, textured
from tests.service.server import Server, free_port, run_module
from tests.service.test_refine import a_picture, as_png

PROMPT = 'a green cone, white background\nand "quotes": é 🟥 & <b>'
GOOD: dict[str, Any] = {"prompt": PROMPT, "num_inference_steps": 6}
FORMATS = get_args(OutputFormat)
BASE, REFINER = digest(files_of(MINI / "base")), digest(files_of(MINI / "refiner"))


def provenance(server: Server, picture: bytes) -> dict[str, Any]:
    answer = ask(server, picture)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ask(server: Server, picture: bytes) -> httpx.Response:
    return server.post("/provenance", files={"image": ("picture", picture, "application/octet-stream")})


def generated(server: Server, **fields: Any) -> bytes:
    answer = server.post("/generate", json={**GOOD, **fields})
    assert answer.status_code == 200, answer.text
    return answer.content


@pytest.mark.parametrize("fields", [
    *({"output_format": output_format} for output_format in FORMATS),
    {"refine": "none", "scheduler": "dpmpp_2m_sde", "clip_skip": 1, "watermark": False},
    {"refine": "sdedit", "strength": 0.5, "negative_prompt": "ugly", "prompt_2": "b", "original_size": [64, 80]},
    {"width": 192, "height": 96, "guidance_scale": 2, "output_format": "webp", "quality": 55},
], ids=str)  # fmt: skip
def test_what_a_picture_says_sent_again_gives_the_same_bytes(server: Server, fields: dict[str, Any]) -> None:
    picture = generated(server, **fields)  # with a seed that the server draws
    record = provenance(server, picture)["sdxl_relay"]
    assert record["endpoint"] == "/generate"
    assert record["version"] == VERSION
    assert record["checkpoints"] == {"base": BASE, **({} if fields.get("refine") == "none" else {"refiner": REFINER})}
    assert {name: record["request"][name] for name in fields} == fields
    again = server.post(record["endpoint"], json=record["request"])
    assert again.status_code == 200, again.text
    assert again.content == picture


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize(
    ("path", "checkpoints"), [("/refine", {"refiner": REFINER}), ("/edit", {"base": BASE, "refiner": REFINER})]
)
def test_a_picture_from_a_picture_too(
    server: Server, path: str, checkpoints: dict[str, str], output_format: str
) -> None:
    files = {"image": ("picture.png", as_png(a_picture()), "image/png")}
    if path == "/edit":
        mask = Image.new("L", (64, 64))
        mask.paste(255, (16, 16, 48, 48))
        files["mask"] = ("mask.png", as_png(mask), "image/png")
    form = {"prompt": "123", "output_format": output_format, "num_inference_steps": "9"}
    picture = server.post(path, data=form, files=files).content
    record = provenance(server, picture)["sdxl_relay"]
    assert (record["endpoint"], record["checkpoints"]) == (path, checkpoints)
    again_form = {
        name: value if isinstance(value, str) else json.dumps(value) for name, value in record["request"].items()
    }
    assert server.post(path, data=again_form, files=files).content == picture


def test_every_item_of_a_batch_too(server: Server) -> None:
    requests = [{**GOOD, "seed": 5}, {**GOOD, "output_format": "jpeg"}]
    results = server.post("/generate_batch", json={"requests": requests}).json()
    for result in results:
        picture = base64.b64decode(result["picture"])
        request = provenance(server, picture)["sdxl_relay"]["request"]
        assert request["seed"] == result["seed"]


@pytest.mark.parametrize("output_format", FORMATS)
def test_what_is_in_the_file(server: Server, output_format: str) -> None:
    found = provenance(server, picture := generated(server, output_format=output_format, seed=3))
    assert found["parameters"].startswith(f"{PROMPT}\nSteps: 6, Sampler: Euler, Schedule type: Uniform, CFG scale: ")
    assert f"Seed: 3, Size: 128x128, Model hash: {BASE[:10]}, Model: mini, " in found["parameters"]
    assert (found["width"], found["height"]) == (128, 128)
    assert not found["watermark"]["present"]  # it is too small for one, though it might be a larger one's small copy
    assert "content_credentials" not in found
    for secret in (b"127.0.0.1", str(Path.home()).encode(), b"checkpoints/", b"User"):
        assert secret not in picture


def test_the_fields_of_the_text(server: Server) -> None:
    fields = {"negative_prompt": "ugly", "guidance_scale": 2.5, "seed": 3, "clip_skip": 1, "refine": "none"}
    found = provenance(server, generated(server, **fields))
    assert found["parameters_parsed"] == {
        "prompt": PROMPT, "negative_prompt": "ugly", "steps": 6, "sampler": "Euler", "schedule_type": "Uniform",
        "cfg_scale": 2.5, "seed": 3, "width": 128, "height": 128, "model_hash": BASE[:10], "model": "mini",
        "clip_skip": 3, "version": f"SDXL Relay {VERSION}", "others": {"RNG": "CPU"},
    }  # fmt: skip
    assert "parameters_parsed" not in provenance(server, png_with((b"tEXt", b"parameters\0a note")))


def test_the_watermark_of_a_picture_that_was_enlarged(server: Server) -> None:
    """To more pixels than the server makes."""
    marked = with_watermark(textured(896, 1152))
    enlarged = Image.fromarray(marked).resize((2304, 1792), Image.Resampling.LANCZOS)
    found = provenance(server, encoded(enlarged, "PNG"))["watermark"]
    assert (found["present"], found["width"], found["height"]) == (True, 1152, 896)


def test_without_metadata(server: Server) -> None:
    for output_format in FORMATS:
        picture = generated(server, output_format=output_format, seed=3, metadata=False)
        found = provenance(server, picture)
        assert not {"parameters", "sdxl_relay"} & found.keys()
        assert b"cone" not in picture
        with_it = Image.open(BytesIO(generated(server, output_format=output_format, seed=3)))
        assert np.array_equal(np.asarray(Image.open(BytesIO(picture))), np.asarray(with_it))
    assert server.post("/generate", json={**GOOD, "metadata": "yes"}).json()["field"] == "metadata"


@pytest.mark.parametrize("output_format", FORMATS)
def test_the_longest_prompts_fit(server: Server, output_format: str) -> None:
    for worst in ("🟥", "&", "\x01"):
        texts = dict.fromkeys(("prompt_2", "negative_prompt", "negative_prompt_2"), worst * 2_000)
        fields = {"prompt": "a" + worst * 1_999, **texts, "output_format": output_format, "num_inference_steps": 5}
        found = provenance(server, generated(server, **fields))
        assert {name: found["sdxl_relay"]["request"][name] for name in fields} == fields


def test_the_watermark_is_found(server: Server) -> None:
    marked = Image.open(BytesIO(generated(server, width=256, height=256, seed=1)))
    smaller = marked.resize((192, 192))
    for picture in (
        encoded(marked, "PNG"),
        encoded(marked, "JPEG", quality=90, subsampling=0),
        encoded(smaller, "PNG"),
    ):
        found = provenance(server, picture)["watermark"]
        assert found["present"]
        assert found["bits_right_share"] > 0.9
        assert (found["width"], found["height"]) == (256, 256)
    plain = generated(server, width=256, height=256, seed=1, watermark=False)
    assert not provenance(server, plain)["watermark"]["present"]


# Content credentials


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    files = make_pair().write(tmp_path_factory.mktemp("signing"))
    with studio(max_rows=4, **{name.removeprefix("SDXL_").lower(): path for name, path in files.items()}) as opened:
        yield opened


@pytest.mark.parametrize("output_format", FORMATS)
def test_content_credentials(server: Server, signing: Studio, output_format: str) -> None:
    picture = signing.generated(**GOOD, output_format=output_format, seed=3).data
    found = provenance(server, picture)
    assert found["sdxl_relay"]["request"]["seed"] == 3
    assert found["content_credentials"] == {
        "state": "valid",
        "generator": f"SDXL Relay {VERSION}",
        "signer": "Example",
        "problems": ["signingCredential.untrusted"],
    }
    changed = bytearray(picture)
    changed[len(picture) // 2] ^= 1
    answer = ask(server, bytes(changed))
    assert answer.status_code == 400 or answer.json()["content_credentials"]["state"] in ("invalid", "unreadable")
    refined = signing.refined(picture, prompt="a cone", num_inference_steps=6).data
    assert provenance(server, refined)["content_credentials"]["state"] == "valid"


def test_a_bad_certificate_ends_the_server_with_one_line(tmp_path: Path) -> None:
    settings = make_pair(days=(-9, -2)).write(tmp_path)
    ended = run_module(["bentoml", "serve", ".", "--port", str(free_port())], tmp_path, **settings)
    assert ended.returncode != 0
    assert "sdxl-relay: SDXL_C2PA_CERTIFICATE: is valid from " in ended.stderr + ended.stdout
