"""What fields of OpenAI's mean here."""

from __future__ import annotations

import asyncio
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from openai import OpenAI
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from entry.http.contracts import error_answer, openai_error
from entry.openai.forms import form_fields, form_files, left_out
from entry.openai.models import ModelNames
from entry.openai.requests import ImageEdit, ImageGeneration
from entry.several import seeds_from
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from tests.entry.fleet.false_runner import IDENTITY, offer_of

FILE = UploadFile(BytesIO(b"a picture"), filename="a.png")


def only(**fields: Any) -> dict[str, Any]:
    """The one request of ours that an OpenAI request becomes, without what was left out."""
    (request,) = ImageGeneration(prompt="a cube", **fields).requests([5])
    return request.model_dump(exclude_unset=True, exclude_none=True)


@pytest.mark.parametrize(
    ("fields", "ours"),
    [
        ({}, {"output_format": "png", "quality": 100}),
        ({"size": "640x1024"}, {"width": 640, "height": 1024}),
        ({"output_format": "jpeg", "output_compression": 0}, {"output_format": "jpeg", "quality": 1}),
        ({"output_format": "webp", "output_compression": 55}, {"output_format": "webp", "quality": 55}),
        ({"negative_prompt": "b", "num_inference_steps": 7, "guidance_scale": 2.5},
         {"negative_prompt": "b", "num_inference_steps": 7, "guidance_scale": 2.5}),
        ({"prompt_syntax": "a1111", "long_prompts": True}, {"prompt_syntax": "a1111", "long_prompts": True}),
        ({"refiner": {"refine": "sdedit", "strength": 0.2, "aesthetic_score": 7}},
         {"refine": "sdedit", "strength": 0.2, "aesthetic_score": 7}),
        ({"refiner": {"high_noise_frac": 0.7}, "quality": "high"}, {"high_noise_frac": 0.7}),
    ],
)  # fmt: skip
def test_fields_are_mapped(fields: dict[str, Any], ours: dict[str, Any]) -> None:
    common = {"prompt": "a cube", "seed": 5, "output_format": "png", "quality": 100}
    assert only(**fields) == {**common, **ours}


@pytest.mark.parametrize("size", ["auto", None])
def test_size_is_the_checkpoints(size: str | None) -> None:
    assert not {"width", "height"} & only(size=size).keys()


@pytest.mark.parametrize("size", ["", "1024", "1024X1024", "-8x64", "64x63", "56x64", "64x8200", "٦٤x٦٤", "64x64x64"])
def test_a_bad_size(size: str) -> None:
    with pytest.raises(ValidationError, match="WIDTHxHEIGHT"):
        ImageGeneration(prompt="a", size=size)


@pytest.mark.parametrize("size_px", [(1024, 1024), (1792, 1024), (1024, 1792), (1536, 1024), (1024, 1536)])
def test_openais_sizes_are_within_the_limit(size_px: tuple[int, int]) -> None:
    """Those of dall-e-3 and gpt-image-1."""
    assert ImageGeneration(prompt="a", size="{}x{}".format(*size_px)).size_px == size_px
    assert size_px[0] * size_px[1] <= Settings().max_pixels


def test_seeds_in_a_row() -> None:
    assert seeds_from(2**32 - 1, 3) == [2**32 - 1, 0, 1]
    first, second = seeds_from(None, 2)
    assert (second - first) % 2**32 == 1


def test_a_form_is_read_as_openais_client_writes_it() -> None:
    """The names with brackets, and numbers and objects as text."""
    extra: dict[str, Any] = {
        "refiner": {"refine": "ensemble", "high_noise_frac": 0.5},
        "seed": 3,
        "strength": 0.6,
        "stream": True,
    }
    with OpenAI(api_key="none") as client:
        items = client.qs.stringify_items({"prompt": "123", "n": 2, **extra})
    fields = form_fields(FormData([*items, ("image[]", FILE)]))
    edit = ImageEdit.model_validate({**fields, "n": 1})
    assert (fields["n"], edit.prompt, edit.seed, edit.strength, edit.stream) == (2, "123", 3, 0.6, True)
    assert edit.refiner is not None
    assert (edit.refiner.refine, edit.refiner.high_noise_frac) == ("ensemble", 0.5)


@pytest.mark.parametrize("text", ["true", "1e5", "null", "[a]", '"quoted"'])
def test_a_forms_prompt_is_left_as_it_is(text: str) -> None:
    assert form_fields(FormData([("prompt", text), ("image", FILE)])) == {"prompt": text}


def test_several_pictures() -> None:
    """In the order of their coming, whichever of the two names they have."""
    first, second = (UploadFile(BytesIO(name.encode()), filename=name) for name in ("first", "second"))
    form = FormData([("image[]", first), ("prompt", "a"), ("image", second)])
    assert form_fields(form) == {"prompt": "a"}
    assert asyncio.run(form_files(form)) == (b"first", None)
    assert left_out(form) == {"image": "ignored: second; only the first picture is edited"}
    assert left_out(FormData([("image", first)])) == {}


@pytest.mark.parametrize(
    ("fields", "wants_urls"),
    [
        ({}, False), ({"model": "sdxl"}, False), ({"model": "gpt-image-1"}, False), ({"model": "dall-e-2"}, True),
        ({"model": "dall-e-3"}, True), ({"model": "dall-e-3", "response_format": "b64_json"}, False),
        ({"model": "dall-e-3", "stream": True}, False), ({"response_format": "url"}, True),
    ],
)  # fmt: skip
def test_who_gets_urls(fields: dict[str, Any], wants_urls: bool) -> None:
    """As with OpenAI, unless the request says it."""
    assert ImageGeneration(prompt="a", **fields).wants_urls is wants_urls


@pytest.mark.parametrize(
    ("openai_models", "name", "ours"),
    [
        ("", None, None), ("", "", None), ("", "dall-e-3", None), ("", "gpt-image-1", None), ("", "flux", "flux"),
        ("flux, default", "flux", None), ("flux, default", "default", None), ("flux", "other", "other"),
        ("any", "flux", None), ("any", "mini", "mini"), ("any", "sdxl", "sdxl"),
    ],
)  # fmt: skip
def test_names_of_models(openai_models: str, name: str | None, ours: str | None) -> None:
    settings = Settings.from_environment({"SDXL_OPENAI_MODELS": openai_models})
    fleet: Any = SimpleNamespace(base=SimpleNamespace(offers=[offer_of(IDENTITY, names=["mini"])]))
    assert ModelNames(fleet, settings).ours(name) == ours


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([], "image"),
        ([("image", "http://127.0.0.1/a.png")], "image"),
        ([("image", FILE)] * 17, "image"),
        ([("image", FILE), ("image[]", "http://127.0.0.1/a.png")], "image"),
        ([("image", FILE), ("mask", FILE), ("mask", FILE)], "mask"),
        ([("image", FILE), ("mask", "text")], "mask"),
        ([("image", FILE), ("markup", FILE)], "markup"),
        ([("image", FILE), ("refiner", "{}"), ("refiner[refine]", "none")], "refiner"),
    ],
)
def test_a_bad_form(items: list[tuple[str, Any]], field: str) -> None:
    with pytest.raises(RelayError) as raised:
        form_fields(FormData(items))
    assert raised.value.field == field


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"), (401, "authentication_error"), (404, "invalid_request_error"),
        (408, "invalid_request_error"), (413, "invalid_request_error"), (429, "rate_limit_error"),
        (500, "server_error"), (503, "server_error"), (504, "server_error"),
    ],
)  # fmt: skip
def test_kinds_of_errors(status: int, kind: str) -> None:
    error = openai_error(RelayError(status, "invalid_field", "width: got 1; allowed: 2", field="width"))["error"]
    assert error == {"message": "size: got 1; allowed: 2", "type": kind, "param": "size", "code": "invalid_field"}


def test_errors_by_path() -> None:
    error = RelayError(429, "queue_full", "num_inference_steps: got 1", field="num_inference_steps", retry_after_s=3)
    own, sdapi = (error_answer(path, error) for path in ("/generate", "/sdapi/v1/txt2img"))
    assert own.headers["retry-after"] == sdapi.headers["retry-after"] == "3"
    assert bytes(own.body) == (b'{"error":"num_inference_steps: got 1","code":"queue_full",'
                               b'"field":"num_inference_steps","got":null}')  # fmt: skip
    assert b'"detail":"num_inference_steps: got 1"' in bytes(sdapi.body)
