"""A client that openapi-python-client makes of the OpenAPI document calls each endpoint of the running server."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.service.server import Server
from tests.service.test_disconnect import wait_for
from tests.service.test_refine import a_picture, as_png

NAME = "sdxl_relay_client"
PROMPT = "a green cone, white background"
FIELDS: dict[str, Any] = {"prompt": PROMPT, "num_inference_steps": 8, "seed": 1}
CONFIG = "content_type_overrides: {image/png: application/octet-stream}\n"  # as docs/guides/clients.md has it
LISTS = ("sd_models", "loras", "sd_vae", "samplers", "schedulers", "embeddings", "refresh_checkpoints", "refresh_loras",
         "refresh_vae", "refresh_embeddings", "list_models", "caller_options", "progress", "interrupt", "skip", "livez",
         "readyz", "healthz", "metrics", "upscalers", "latent_upscale_modes", "hypernetworks", "face_restorers",
         "realesrgan_models", "prompt_styles", "scripts", "script_info", "extensions", "sd_modules", "cmd_flags",
         "memory", "ping", "unload_checkpoint", "reload_checkpoint")  # fmt: skip


class Made:
    """The client's package. It notes which operations were called."""

    def __init__(self, package: ModuleType, url: str) -> None:
        self.models: Any = importlib.import_module(f"{NAME}.models")
        self.types: Any = importlib.import_module(f"{NAME}.types")
        self._client = importlib.import_module(f"{NAME}.client").Client(base_url=url, timeout=httpx.Timeout(200))
        found = pkgutil.walk_packages(package.__path__, f"{NAME}.")
        self.operations = {each.name.rsplit(".", 1)[1]: each.name for each in found if each.name.count(".") == 3}
        self.called: set[str] = set()

    def call(self, operation: str, *arguments: Any, status: int = 200, **more: Any) -> Any:
        """The answer: its bytes are `content`, and what was made of them `parsed`."""
        self.called.add(operation)
        module = importlib.import_module(self.operations[operation])
        answer = module.sync_detailed(*arguments, client=self._client, **more)
        assert answer.status_code == status, answer.content
        return answer

    def close(self) -> None:
        self._client.get_httpx_client().close()

    def file(self) -> Any:
        return self.types.File(payload=BytesIO(as_png(a_picture(128, 128))), file_name="a.png", mime_type="image/png")


def generated(folder: Path, url: str, config: str) -> ModuleType:
    (folder / "docs.json").write_bytes(httpx.get(f"{url}/docs.json").content)
    (folder / "config.yaml").write_text(f"{config}post_hooks: []\n")
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
    options = ["--path", "docs.json", "--output-path", NAME, "--config", "config.yaml"]
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    importlib.invalidate_caches()
    return importlib.import_module(NAME)


@pytest.fixture(scope="module")
def made(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("generated")
    sys.path.insert(0, str(folder))
    made = Made(generated(folder, server.url, CONFIG), server.url)
    yield made
    made.close()
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


def size(file: Any) -> tuple[int, int]:
    """Of a picture in what the client calls a file."""
    return Image.open(file.payload).size


def test_pictures(made: Made) -> None:
    picture = made.call("generate", body=made.models.GeneratePictures(**FIELDS))
    assert size(picture.parsed) == (128, 128)
    assert picture.content.startswith(b"\x89PNG")
    several = made.call("generate", body=made.models.GeneratePictures(**FIELDS, n=2), status=207)
    assert [result.seed for result in several.parsed] == [1, 2]
    batch = made.models.BatchRequest(requests=[made.models.GeneratePictures(**FIELDS)])
    assert made.call("generate_batch", body=batch).parsed[0].media_type == "image/png"


@pytest.mark.parametrize("operation", ["refine", "edit"])
def test_forms(made: Made, operation: str) -> None:
    model = getattr(made.models, f"{operation.title()}PicturesForm")
    more = {"mask": made.file()} if operation == "edit" else {}
    form = model(**FIELDS, **more, image=made.file(), watermark=False, original_size="128,128", loras="[]")
    assert size(made.call(operation, body=form).parsed) == (128, 128)
    form = model(**FIELDS, image=made.file(), n=2)
    assert [result.seed for result in made.call(operation, body=form, status=207).parsed] == [1, 2]


@pytest.mark.parametrize(
    ("operation", "model", "has_file"),
    [
        ("generate_stream", "GenerateStreamRequest", False),
        ("refine_stream", "RefineStreamRequestForm", True),
        ("edit_stream", "EditStreamRequestForm", True),
    ],
)
def test_streams(made: Made, operation: str, model: str, has_file: bool) -> None:
    more = {"image": made.file()} if has_file else {}
    told = made.call(operation, body=getattr(made.models, model)(**FIELDS, **more)).parsed
    assert told.count("event: result\n") == 1


def test_provenance(made: Made) -> None:
    told = made.call("provenance", body=made.models.NoFieldsForm(image=made.file())).parsed
    assert (told.width, told.height) == (128, 128)


def test_a_task(made: Made) -> None:
    def submitted() -> str:
        task: str = made.call("generate_submit", body=made.models.GeneratePictures(**FIELDS)).parsed.task_id
        return task

    task = submitted()
    wait_for(lambda: made.call("generate_status", task_id=task).parsed.status == "completed")
    assert size(made.call("generate_get", task_id=task).parsed) == (128, 128)
    again = made.call("generate_retry", task_id=task).parsed.task_id
    wait_for(lambda: made.call("generate_status", task_id=again).parsed.status == "completed")
    slow = made.models.GeneratePictures(prompt=PROMPT, num_inference_steps=150, width=256, height=256)
    task = made.call("generate_submit", body=slow).parsed.task_id
    assert made.call("generate_cancel", task_id=task).parsed.status == "canceled"


def test_openai(made: Made) -> None:
    wanted = made.models.ImageGeneration(**FIELDS, n=2, response_format="url")
    answer = made.call("create_image", body=wanted).parsed
    name = answer.data[0].url.rsplit("/", 1)[1]
    assert size(made.call("fetch_picture", name).parsed) == (128, 128)
    form = made.models.EditImageImageEditForm(prompt=PROMPT, image=made.file(), strength=0.5)
    assert made.call("edit_image", body=form).parsed.data[0].b64_json
    assert json.loads(made.call("retrieve_model", "sdxl").content)["id"] == "mini"


def test_automatic1111(made: Made) -> None:
    answer = made.call("txt2img", body=made.models.Txt2Img(prompt=PROMPT, steps=8)).parsed
    assert len(answer.images) == 1
    changed = made.models.Img2Img(prompt=PROMPT, steps=8, init_images=answer.images)
    assert len(made.call("img2img", body=changed).parsed.images) == 1
    single = made.models.ExtraSingle(image=answer.images[0], upscaler_1="Lanczos")
    assert made.call("extra_single_image", body=single).parsed.image
    named = made.models.NamedPicture(data=answer.images[0], name="a.png")
    assert len(made.call("extra_batch_images", body=made.models.ExtraBatch(image_list=[named])).parsed.images) == 1
    assert PROMPT in made.call("read_png_info", body=made.models.PngInfo(image=answer.images[0])).parsed.info
    made.call("interrogate", status=404)
    made.call("set_options", body=made.models.Options(sd_model_checkpoint="mini"))


@pytest.mark.parametrize("operation", LISTS)
def test_what_takes_nothing(made: Made, operation: str) -> None:
    assert made.call(operation).content


def test_an_error(made: Made) -> None:
    answer = made.call("generate", body=made.models.GeneratePictures(prompt=PROMPT, width=100), status=400)
    assert (answer.parsed.code, answer.parsed.field) == ("invalid_field", "width")


def test_no_operation_was_forgotten(made: Made) -> None:
    """The last of this file's tests."""
    assert made.called == made.operations.keys()


def test_a_client_without_a_configuration(server: Server, tmp_path: Path) -> None:
    """It leaves out the type of pictures, with a warning, but has their bytes."""
    code = f"""
import sys
from {NAME} import Client, models
from {NAME}.api.service_ap_is import generate
answer = generate.sync_detailed(client=Client(base_url=sys.argv[1]), body=models.GeneratePictures(prompt="a cone"))
assert answer.content.startswith(b"\\x89PNG"), answer
"""
    (tmp_path / "docs.json").write_bytes(httpx.get(f"{server.url}/docs.json").content)
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--path", "docs.json"]
    subprocess.run([*command, "--output-path", NAME], cwd=tmp_path, capture_output=True, timeout=100, check=True)
    subprocess.run([sys.executable, "-c", code, server.url], cwd=tmp_path, timeout=100, check=True)
