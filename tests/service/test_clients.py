"""The README's ways to call the server: curl's request, and BentoML's Python client."""

from __future__ import annotations

import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.service.server import ROOT, Server
from tests.service.test_edit import a_mask
from tests.service.test_refine import a_picture, as_png
from training.judge import judge
from training.scenes import Scene, Solid

PROMPT = "a red cube on top of a blue sphere, yellow background"


def run_python(code: str, server: Server, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a client's script, written for a server at the README's address, in a process of its own."""
    code = code.replace("http://127.0.0.1:3000", server.url)
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=100, check=False
    )


def levels(path: Path) -> NDArray[np.uint8]:
    """A picture's file as uint8 [height, width, 3]."""
    with Image.open(path) as picture:
        return np.asarray(picture)


def readme_block(language: str) -> str:
    """The README's first block of code in `language`."""
    found = re.search(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_readmes_curl_command(server: Server, tmp_path: Path) -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    (command,) = [line for line in lines if line.startswith("curl")]
    subprocess.run(command.replace("127.0.0.1:3000", server.url.removeprefix("http://")), shell=True, check=True,
                   cwd=tmp_path, timeout=100)  # fmt: skip
    picture = levels(tmp_path / "picture.png")
    scene = Scene(Solid("red", "cube"), "on top of", Solid("blue", "sphere"), "yellow")
    assert scene.caption == PROMPT
    assert judge(picture, scene).all_right


def test_the_readmes_python_client(server: Server, tmp_path: Path) -> None:
    ended = run_python(readme_block("python"), server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    picture = levels(tmp_path / "cone.png")
    assert judge(picture, Scene(Solid("green", "cone"), None, None, "white")).all_right


def test_the_python_client_refines(server: Server, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(as_png(a_picture(128, 128)))
    code = f"""
import bentoml, shutil
from pathlib import Path
with bentoml.SyncHTTPClient("http://127.0.0.1:3000") as client:
    path = client.refine(image=Path("picture.png"), prompt="{PROMPT}", seed=1, num_inference_steps=10)
    shutil.copy(path, "refined.png")
"""
    ended = run_python(code, server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert levels(tmp_path / "refined.png").shape == (128, 128, 3)


def test_the_python_client_edits(server: Server, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(as_png(a_picture(128, 128)))
    (tmp_path / "mask.png").write_bytes(as_png(a_mask(128, 128)))
    code = f"""
import bentoml, shutil
from pathlib import Path
with bentoml.SyncHTTPClient("http://127.0.0.1:3000") as client:
    fields = dict(image=Path("picture.png"), prompt="{PROMPT}", seed=1, num_inference_steps=10)
    shutil.copy(client.edit(**fields), "edited.png")
    shutil.copy(client.edit(**fields, mask=Path("mask.png")), "inpainted.png")
"""
    ended = run_python(code, server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    original, edited, inpainted = (
        levels(tmp_path / f"{name}.png")[:, :24] for name in ("picture", "edited", "inpainted")
    )
    assert np.array_equal(inpainted, original), "far from the mask"
    assert not np.array_equal(edited, original)


def test_the_python_client_is_told_of_errors(server: Server, tmp_path: Path) -> None:
    code = f"""
import bentoml
with bentoml.SyncHTTPClient("http://127.0.0.1:3000") as client:
    client.generate(prompt="{PROMPT}", seed=-1)
"""
    ended = run_python(code, server, tmp_path)
    assert ended.returncode != 0
    assert "seed: got -1" in ended.stderr


@pytest.mark.parametrize(
    ("output_format", "media_type"), [("png", "image/png"), ("jpeg", "image/jpeg"), ("webp", "image/webp")]
)
def test_formats_and_headers(server: Server, output_format: str, media_type: str) -> None:
    answer = server.post("/generate", json={"prompt": PROMPT, "num_inference_steps": 6, "output_format": output_format})
    assert answer.headers["content-type"] == media_type
    assert (Image.open(BytesIO(answer.content)).format or "").lower() == output_format
    assert 0 <= int(answer.headers["x-seed"]) < 2**32
    phases = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    assert [*phases] == ["queue", "load", "encode", "base", "handoff", "refiner", "decode", "picture"]
    assert all(float(ms) >= 0 for ms in phases.values())
    assert float(phases["base"]) > 0
    assert float(phases["refiner"]) > 0


def test_a_drawn_seed_gives_the_picture_again(server: Server) -> None:
    request = {"prompt": PROMPT, "num_inference_steps": 6}
    first = server.post("/generate", json=request)
    again = server.post("/generate", json={**request, "seed": int(first.headers["x-seed"])})
    assert first.content == again.content


def test_a_long_prompt_is_truncated_with_a_header(server: Server) -> None:
    answer = server.post("/generate", json={"prompt": " ".join([PROMPT] * 10), "num_inference_steps": 6})
    assert answer.headers["x-truncated"] == "prompt"
    short = server.post("/generate", json={"prompt": PROMPT, "num_inference_steps": 6})
    assert "x-truncated" not in short.headers


def test_a_small_picture_says_that_it_has_no_watermark(server: Server) -> None:
    request = {"prompt": PROMPT, "num_inference_steps": 6}
    assert server.post("/generate", json=request).headers["x-watermark"].startswith("skipped")
    assert "x-watermark" not in server.post("/generate", json={**request, "watermark": False}).headers
    assert "x-watermark" not in server.post("/generate", json={**request, "width": 256, "height": 256}).headers


def test_the_schema_has_the_bounds(server: Server) -> None:
    """Its own, which BentoML's client reads; that of the OpenAPI document is another."""
    (route,) = [each for each in httpx.get(f"{server.url}/schema.json").json()["routes"] if each["name"] == "generate"]
    steps = route["input"]["properties"]["num_inference_steps"]
    assert (steps["minimum"], steps["maximum"]) == (1, 150)


def test_the_python_client_knows_what_its_methods_do(server: Server, tmp_path: Path) -> None:
    code = """
import bentoml
with bentoml.SyncHTTPClient("http://127.0.0.1:3000") as client:
    for name in client.endpoints:
        print(getattr(client, name).__doc__)
"""
    ended = run_python(code, server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Fields:") == 8
    assert "A picture from a prompt: by the base, then the refiner" in ended.stdout
    assert "    prompt (string, required): What to draw." in ended.stdout
    assert "    n (integer): How many pictures to make;" in ended.stdout
    assert "    image (file, required)" in ended.stdout
