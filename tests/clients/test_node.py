"""Published packages for Node against the running server: clients of OpenAI's API, and clients that are generated."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.service.server import Server
from tests.service.test_refine import a_picture, as_png

HERE = Path(__file__).parent
LOCK = ("package.json", "package-lock.json")
TSC = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext", "--moduleResolution",
       "bundler", "--lib", "es2022,dom,dom.iterable"]  # fmt: skip
MIN_NODE = 20


def node_version() -> int:
    """0 where there is none."""
    if not (shutil.which("node") and shutil.which("npm")):
        return 0
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    return int(told.strip().removeprefix("v").split(".")[0])


pytestmark = pytest.mark.skipif(node_version() < MIN_NODE, reason=f"there is no Node {MIN_NODE} with npm here")


@pytest.fixture(scope="module")
def packages() -> Path:
    """A folder node_modules as the lock says it; it is kept for the next run."""
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in LOCK)).hexdigest()[:12]
    kept = Path(tempfile.gettempdir()) / f"sdxl-relay-clients-node-{digest}"
    if not kept.exists():
        coming = Path(tempfile.mkdtemp())
        for name in LOCK:
            shutil.copy(HERE / name, coming)
        install = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(install, cwd=coming, check=True, capture_output=True, timeout=250)
        coming.rename(kept)
    return kept / "node_modules"


@pytest.fixture
def folder(packages: Path, tmp_path: Path) -> Path:
    """A package of its own, with a picture."""
    (tmp_path / "node_modules").symlink_to(packages)
    shutil.copy(HERE / "package.json", tmp_path)
    (tmp_path / "a.png").write_bytes(as_png(a_picture(128, 128)))
    return tmp_path


def run(folder: Path, command: Sequence[str], script: str | None = None, url: str = "") -> str:
    """What it prints; of a script, with the server's address and the picture as its arguments."""
    if script is not None:
        shutil.copy(HERE / script, folder)
    path = f"{folder / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"
    whole = [*command, *([] if script is None else [script, url, "a.png"])]
    ended = subprocess.run(
        whole, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stdout[-3_000:] + ended.stderr[-3_000:]
    return ended.stdout


def told_by(folder: Path, command: Sequence[str], script: str, server: Server) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(run(folder, command, script, server.url))
    return told


def size(b64_json: str) -> tuple[int, int]:
    return Image.open(BytesIO(base64.b64decode(b64_json))).size


def test_openai(folder: Path, server: Server) -> None:
    told = told_by(folder, ["node"], "openai.mjs", server)
    assert [size(picture) for picture in (*told["pictures"], told["edited"])] == [(128, 128)] * 3
    assert told["url"].startswith(f"{server.url}/pictures/")
    assert told["fetched"] == len(httpx.get(told["url"]).content)
    assert told["warnings"]["image"].startswith("ignored: picture.png")
    partial = "image_generation.partial_image"
    assert told["events"] == [partial, partial, "image_generation.completed"]
    assert told["error"] == ["NotFoundError", 404, "model_not_found"]
    assert (told["usage"], told["models"]) == (0, ["mini"])


def test_the_ai_sdk(folder: Path, server: Server) -> None:
    told = told_by(folder, ["node"], "ai_sdk.mjs", server)
    assert told.pop("error") == [404, "model_not_found"]
    assert {name: size(picture) for name, picture in told.items()} == dict.fromkeys(
        ("sdxl", "dall-e-3", "gpt-image-1", "edited"), (128, 128)
    )


@pytest.fixture
def described(folder: Path, server: Server) -> Path:
    """The folder with the server's OpenAPI document."""
    (folder / "docs.json").write_bytes(httpx.get(f"{server.url}/docs.json").content)
    return folder


def test_hey_api(described: Path, server: Server) -> None:
    """Each endpoint is called."""
    run(described, ["openapi-ts", "--input", "docs.json", "--output", "made"])
    told = told_by(described, ["tsx"], "hey_api.ts", server)
    run(described, ["tsc", *TSC, "hey_api.ts"])
    assert told["forgotten"] == []
    assert told["several"] == [[1, 2]] * 3
    assert told["streams"] == [1, 1, 1]
    assert min(*told["pictures"], told["task"], told["fetched"]) > 1_000
    assert (told["size"], told["cancelled"], told["images"]) == (128, "canceled", 1)
    assert (told["more_images"], told["info"], told["no_words"]) == ([1, 1], True, 404)
    assert (told["edited"], told["model"]) == ("128x128", "mini")
    assert (told["error"]["code"], told["error"]["field"]) == ("invalid_field", "width")


def test_openapi_typescript(described: Path, server: Server) -> None:
    run(described, ["openapi-typescript", "docs.json", "--output", "made.d.ts", "--default-non-nullable", "false"])
    told = told_by(described, ["tsx"], "openapi_fetch.ts", server)
    run(described, ["tsc", *TSC, "openapi_fetch.ts"])
    assert min(told["picture"], told["edited"]) > 1_000
    assert (told["seed"], told["status"], told["error"]["field"], told["model"]["id"]) == (1, 200, "width", "mini")
