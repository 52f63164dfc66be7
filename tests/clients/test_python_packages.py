"""Published Python packages that call OpenAI's API, in an environment of their own."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.service.server import Server
from tests.service.test_refine import a_picture, as_png

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"

pytestmark = pytest.mark.full  # a minute to install


@pytest.fixture(scope="session")
def python() -> Path:
    """The interpreter of an environment with the packages; it is kept for the next run."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:12]
    environment = Path(tempfile.gettempdir()) / f"sdxl-relay-clients-python-{digest}"
    interpreter = environment / "bin" / "python"
    if not (environment / "installed").exists():
        shutil.rmtree(environment, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=300)
        install = [str(interpreter), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)]
        subprocess.run(install, check=True, timeout=1_000)
        (environment / "installed").touch()
    return interpreter


def run(python: Path, script: str, *arguments: str) -> dict[str, Any]:
    command = [str(python), str(HERE / script), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 0, ended.stderr[-3_000:]
    told: dict[str, Any] = json.loads(ended.stdout.strip().splitlines()[-1])
    return told


def size(data: bytes) -> tuple[int, int]:
    return Image.open(BytesIO(data)).size


def test_litellm(python: Path, server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(as_png(a_picture(128, 128)))
    told = run(python, "litellm_client.py", server.url, str(tmp_path / "a.png"))
    assert [size(base64.b64decode(picture)) for picture in (*told["pictures"], told["edited"])] == [(128, 128)] * 3
    assert told["tokens"] == 0
    assert size(httpx.get(told["url"]).content) == (128, 128)
    assert "flux" in told["error"]


def test_langchain(python: Path, server: Server) -> None:
    told = run(python, "langchain_client.py", server.url)
    assert [size(httpx.get(url).content) for url in told["urls"]] == [(128, 128)] * 2
    assert told["error"] == "model_not_found"
