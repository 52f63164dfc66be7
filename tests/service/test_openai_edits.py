"""OpenAI's client edits pictures: img2img, inpainting with its own masks and with white ones, and streams."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai.types import ImagesResponse
from PIL import Image, ImageOps

from tests.service.server import Server, pixels
from tests.service.test_edit import a_mask
from tests.service.test_openai import levels
from tests.service.test_refine import a_picture, as_png

PROMPT = "a green cone, white background"
QUICK: dict[str, Any] = {"seed": 1, "num_inference_steps": 8}
ORIGINAL, MASK = a_picture(128, 128), a_mask(128, 128)
PICTURE = as_png(ORIGINAL)


def openais(mask: Image.Image) -> bytes:
    """A mask as OpenAI has it: transparent where it is to be repainted."""
    layer = Image.new("RGB", mask.size)
    layer.putalpha(ImageOps.invert(mask))
    return as_png(layer)


def own(server: Server, mask: Image.Image | None = None, **fields: Any) -> NDArray[np.int_]:
    """The picture of our own /edit."""
    files = {"image": ("a.png", PICTURE, "image/png")}
    if mask is not None:
        files["mask"] = ("mask.png", as_png(mask), "image/png")
    return pixels(server.post("/edit", data={"prompt": PROMPT, **QUICK, **fields}, files=files)).astype(int)


def test_img2img(client: openai.OpenAI, server: Server) -> None:
    answer = client.images.edit(
        image=PICTURE, prompt=PROMPT, n=2, input_fidelity="high", extra_body={**QUICK, "strength": 0.6}
    )
    ImagesResponse.model_validate(answer.model_dump())
    assert answer.data is not None
    assert (answer.size, (answer.model_extra or {})["warnings"].keys()) == ("128x128", {"input_fidelity"})
    for seed, image in zip((1, 2), answer.data, strict=True):
        assert (image.model_extra or {})["seed"] == seed
        assert np.abs(levels(image.b64_json) - own(server, seed=seed, strength=0.6)).max() <= 2


@pytest.mark.parametrize("convention", [openais, as_png], ids=["transparent", "white"])
def test_inpainting(client: openai.OpenAI, server: Server, convention: Any) -> None:
    answer = client.images.edit(
        image=("a.png", PICTURE),
        mask=("mask.png", convention(MASK)),
        prompt=PROMPT,
        extra_body={**QUICK, "refiner": {"high_noise_frac": 0.5}},
    )
    assert answer.data is not None
    edited = levels(answer.data[0].b64_json)
    assert np.abs(edited - own(server, MASK, high_noise_frac=0.5)).max() <= 2
    assert np.abs(edited[:4].astype(int) - np.asarray(ORIGINAL)[:4]).max() == 0, "what is kept has changed"


def test_a_list_of_one_picture_and_a_size(client: openai.OpenAI) -> None:
    answer = client.images.edit(
        image=[PICTURE], mask=openais(MASK), prompt="123", size="192x128", output_format="jpeg", extra_body=QUICK
    )
    assert answer.data is not None
    assert levels(answer.data[0].b64_json).shape == (128, 192, 3)
    assert (answer.size, answer.output_format) == ("192x128", "jpeg")


def test_the_first_of_several_pictures_is_edited(client: openai.OpenAI, server: Server) -> None:
    others = [(f"{name}.png", as_png(Image.new("RGB", (64, 64), name))) for name in ("red", "blue")]
    answer = client.images.edit(image=[("a.png", PICTURE), *others], prompt=PROMPT, extra_body=QUICK)
    assert answer.data is not None
    assert np.abs(levels(answer.data[0].b64_json) - own(server)).max() <= 2
    warning = (answer.model_extra or {})["warnings"]["image"]
    assert warning == "ignored: red.png, blue.png; only the first picture is edited"


def test_streaming(client: openai.OpenAI) -> None:
    got = list(client.images.edit(image=PICTURE, prompt=PROMPT, stream=True, partial_images=2, extra_body=QUICK))
    assert [event.type for event in got] == ["image_edit.partial_image"] * 2 + ["image_edit.completed"]
    for event in got:
        type(event).model_validate(event.model_dump(), strict=True)
        assert levels(event.b64_json).shape == (128, 128, 3)


def test_the_async_client(server: Server) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            answer = await client.images.edit(image=PICTURE, prompt=PROMPT, extra_body=QUICK)
            assert answer.data is not None
            assert levels(answer.data[0].b64_json).shape == (128, 128, 3)

    asyncio.run(main())


BAD: list[tuple[dict[str, Any], str]] = [
    ({"image": [PICTURE] * 17}, "image"), ({"image": b"no picture"}, "image"), ({"image": PICTURE[:500]}, "image"),
    ({"mask": b"no picture"}, "mask"), ({"mask": openais(a_mask(72, 64))}, "mask"), ({"n": 0}, "n"),
    ({"markup": PICTURE}, "markup"), ({"prompt": ""}, "prompt"), ({"background": "transparent"}, "background"),
    ({"output_format": "svg"}, "output_format"), ({"response_format": "jpeg"}, "response_format"),
    ({"size": "100x100"}, "size"), ({"size": "4096x4096"}, "size"),
    ({"extra_body": {"strength": 2}}, "strength"), ({"extra_body": {"seed": "many"}}, "seed"),
    ({"extra_body": {"refiner": {"refine": "sdedit"}}}, "refiner.refine"), ({"extra_body": {"new": 1}}, "new"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "param"), BAD, ids=lambda value: str(value)[:20])
def test_a_bad_field_is_named(client: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        client.images.edit(**{"image": PICTURE, "prompt": PROMPT, **fields})
    assert raised.value.status_code in (400, 415)
    assert (raised.value.param, raised.value.type) == (param, "invalid_request_error")


def test_the_document_has_the_form(server: Server) -> None:
    document = httpx.get(f"{server.url}/docs.json").json()
    content = document["paths"]["/v1/images/edits"]["post"]["requestBody"]["content"]
    schema = content["multipart/form-data"]["schema"]
    assert schema["required"] == ["prompt", "image"]
    assert {"image", "mask", "strength", "refiner", "stream"} <= schema["properties"].keys()
