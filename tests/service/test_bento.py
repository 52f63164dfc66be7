"""The built bento serves the same pictures, without a network."""

from __future__ import annotations

from pathlib import Path

from tests.service.server import Server, run_module, serving
from tests.service.split import serving_split

REQUEST = {"prompt": "a red cube on top of a blue sphere, yellow background", "seed": 1}


def test_the_built_bento_gives_the_same_picture(server: Server, tmp_path: Path) -> None:
    built = run_module(["bentoml", "build", "--output", "tag"], tmp_path, timeout_s=200)
    assert built.returncode == 0, built.stderr
    tag = built.stdout.strip().removeprefix("__tag__:")
    bento = tmp_path / "bentos" / tag.replace(":", "/")
    assert not (bento / "src" / "training").exists()
    assert not (bento / "src" / "tests").exists()
    _check_container(bento)
    elsewhere = tmp_path / "empty"
    elsewhere.mkdir()
    with serving(tmp_path, target=tag, folder=elsewhere, HF_HUB_OFFLINE="1") as from_bento:
        answer = from_bento.post("/generate", json=REQUEST)
    expected = server.post("/generate", json=REQUEST)
    assert answer.status_code == expected.status_code == 200, answer.text
    assert answer.content == expected.content
    (tmp_path / "split").mkdir()
    with serving_split(tmp_path / "split", bento / "src", SDXL_MAX_ROWS=16) as split:
        assert split.server.post("/generate", json=REQUEST).content == expected.content


def _check_container(bento: Path) -> None:
    """The image's build must find the packages that the requirements name by their path."""
    requirements = (bento / "env" / "python" / "requirements.txt").read_text().splitlines()
    (stand_in,) = [line for line in requirements if line.startswith("./")]
    assert (bento / "src" / stand_in / "pyproject.toml").is_file()
    dockerfile = (bento / "env" / "docker" / "Dockerfile").read_text()
    assert "COPY --chown=bentoml:bentoml ./src/standins ./src/standins" in dockerfile.splitlines()
    (script,) = (bento / "env" / "docker").glob("script__*")  # deploy/without-compilers.sh
    assert f"&& ./env/docker/{script.name}" in dockerfile
