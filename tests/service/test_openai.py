"""OpenAI's own Python client against the running server."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from openai.types import ImagesResponse
from PIL import Image

from tests.service.server import ROOT, Server
from tests.service.test_clients import run_python
from tests.service.test_disconnect import wait_for
from training.judge import judge
from training.scenes import Scene, Solid

PROMPT = "a green cone, white background"
SCENE = Scene(Solid("green", "cone"), None, None, "white")
QUICK: dict[str, Any] = {"prompt": PROMPT, "extra_body": {"seed": 1, "num_inference_steps": 6}}
SLOW: dict[str, Any] = {"prompt": PROMPT, "size": "256x256", "extra_body": {"num_inference_steps": 150}}


def levels(b64_json: str | None) -> NDArray[np.uint8]:
    """A picture in base64 as uint8 [height, width, 3]."""
    assert b64_json is not None
    return np.asarray(Image.open(BytesIO(base64.b64decode(b64_json))).convert("RGB"))


def test_a_picture(client: openai.OpenAI, server: Server) -> None:
    answer = client.images.generate(model="sdxl", prompt=PROMPT, extra_body={"seed": 1})
    ImagesResponse.model_validate(answer.model_dump())
    assert answer.data is not None
    (image,) = answer.data
    picture = levels(image.b64_json)
    assert judge(picture, SCENE).all_right
    assert np.array_equal(picture, server.generate(prompt=PROMPT, seed=1))
    assert (answer.size, answer.output_format, answer.background) == ("128x128", "png", "opaque")
    assert (answer.quality, image.revised_prompt, image.url) == (None, None, None)
    assert answer.usage is not None
    assert (answer.usage.total_tokens, answer.usage.input_tokens_details.text_tokens) == (0, 0)
    assert answer.model_extra is not None
    assert answer.model_extra["model"] == "mini"
    assert image.model_extra is not None
    assert image.model_extra["seed"] == 1
    assert image.model_extra["timings"]["base"] > 0


def test_several_pictures_have_seeds_in_a_row(client: openai.OpenAI, server: Server) -> None:
    answer = client.images.generate(
        prompt=PROMPT, n=3, extra_body={"seed": 2**32 - 2, "num_inference_steps": 6, "negative_prompt": "a cube"}
    )
    assert answer.data is not None
    for image, seed in zip(answer.data, (2**32 - 2, 2**32 - 1, 0), strict=True):
        expected = server.generate(prompt=PROMPT, seed=seed, num_inference_steps=6, negative_prompt="a cube")
        # In company, the last bits of a sum may differ (SDXL_FIXED_ROWS).
        assert np.abs(levels(image.b64_json).astype(int) - expected).max() <= 2


def test_size_format_and_refiner(client: openai.OpenAI) -> None:
    for refiner in ({"refine": "none"}, {"high_noise_frac": 0.5}, {"refine": "sdedit", "strength": 0.5}):
        answer = client.images.generate(
            prompt=PROMPT,
            size="128x192",
            output_format="webp",
            output_compression=0,
            extra_body={"seed": 1, "num_inference_steps": 6, "guidance_scale": 4, "refiner": refiner},
        )
        assert answer.data is not None
        data = base64.b64decode(answer.data[0].b64_json or "")
        picture = Image.open(BytesIO(data))
        assert (picture.format, picture.size, answer.size) == ("WEBP", (128, 192), "128x192")
        assert len(data) < 3_000


@pytest.mark.parametrize("model", ["dall-e-3", "gpt-image-1", "gpt-image-2.5-flare", "chatgpt-image-latest"])
def test_openais_models_stand_for_ours(client: openai.OpenAI, model: str) -> None:
    answer = client.images.generate(model=model, size="auto", **QUICK)
    assert (answer.model_extra or {})["model"] == "mini"


def test_fields_without_meaning_are_ignored_and_named(client: openai.OpenAI) -> None:
    answer = client.images.generate(
        quality="hd", style="vivid", moderation="low", user="me", safety_identifier="me", complexity="high",
        background="auto", response_format="b64_json", n=1, **QUICK,
    )  # fmt: skip
    assert set((answer.model_extra or {})["warnings"]) == {
        "quality", "style", "moderation", "complexity", "user", "safety_identifier",
    }  # fmt: skip


def test_null_is_as_left_out(client: openai.OpenAI) -> None:
    nothing = dict.fromkeys(["background", "model", "n", "output_compression", "output_format", "partial_images",
                             "quality", "response_format", "size", "stream", "style", "svg"])  # fmt: skip
    answer = client.images.generate(**nothing, **QUICK)  # type: ignore[arg-type]
    assert answer.data is not None
    assert levels(answer.data[0].b64_json).shape == (128, 128, 3)


BAD: list[tuple[str, Any, str]] = [
    ("n", 0, "n"), ("n", 11, "n"), ("size", "100x100", "size"), ("size", "big", "size"), ("size", "4096x4096", "size"),
    ("quality", "best", "quality"), ("background", "transparent", "background"),
    ("output_format", "gif", "output_format"),
    ("output_compression", 101, "output_compression"), ("output_compression", 50, "output_compression"),
    ("response_format", "b64", "response_format"), ("moderation", "none", "moderation"), ("style", "wild", "style"),
    ("partial_images", 4, "partial_images"), ("partial_images", 1, "partial_images"), ("prompt", "", "prompt"),
    ("prompt", "x" * 8_001, "prompt"), ("frame_count", 4, "frame_count"), ("svg", {"model": "a"}, "svg"),
    ("seed", -1, "seed"), ("num_inference_steps", 151, "num_inference_steps"), ("a_new_field", 1, "a_new_field"),
    ("refiner", {"refine": "twice"}, "refiner.refine"), ("refiner", {"depth": 1}, "refiner.depth"),
    ("refiner", "ensemble", "refiner"), ("strength", 0.5, "strength"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "param"), BAD, ids=lambda value: str(value)[:20])
def test_a_bad_field_is_named(client: openai.OpenAI, field: str, value: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.images.generate(prompt=PROMPT, extra_body={field: value})
    error = raised.value
    assert (error.param, error.type) == (param, "invalid_request_error")
    assert error.code
    assert param in str(error)


def test_several_pictures_cannot_be_streamed(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="n: got 2; allowed: 1 with stream"):
        client.images.generate(prompt=PROMPT, n=2, stream=True)
    with pytest.raises(openai.BadRequestError, match="response_format: got"):
        client.images.generate(prompt=PROMPT, response_format="url", stream=True)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["mini"]
    assert client.models.retrieve("sdxl").owned_by == "sdxl-relay"
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("flux")
    assert raised.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError) as raised:
        client.images.generate(model="flux", prompt=PROMPT)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


def test_streaming(client: openai.OpenAI) -> None:
    got = list(client.images.generate(prompt=PROMPT, stream=True, partial_images=3, output_format="jpeg", quality="low",
                                      extra_body={"seed": 1}))  # fmt: skip
    *partials, last = got
    assert [event.type for event in partials] == ["image_generation.partial_image"] * 3
    for index, event in enumerate(partials):
        type(event).model_validate(event.model_dump(), strict=True)
        assert event.type == "image_generation.partial_image"
        assert event.partial_image_index == index
        assert levels(event.b64_json).shape == (128, 128, 3)
    assert last.type == "image_generation.completed"
    type(last).model_validate(last.model_dump(), strict=True)
    for event in got:
        assert (event.size, event.output_format, event.quality, event.background) == (
            "128x128",
            "jpeg",
            "low",
            "opaque",
        )
        assert set(event.model_fields_set) <= set(type(event).model_fields)
    assert judge(levels(last.b64_json), SCENE).all_right


def test_the_last_preview_is_near_the_picture(client: openai.OpenAI) -> None:
    *_, preview, last = client.images.generate(prompt=PROMPT, stream=True, partial_images=2, extra_body={"seed": 1})
    distance = np.abs(levels(preview.b64_json).astype(int) - levels(last.b64_json)).mean()
    assert distance < 50


def test_a_stream_without_partial_pictures(client: openai.OpenAI) -> None:
    with client.images.with_streaming_response.generate(stream=True, **QUICK) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-seed"] == "1"
        text = answer.read().decode()
    assert [line for line in text.splitlines() if line.startswith("event:")] == ["event: image_generation.completed"]


def test_the_async_client(server: Server) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            answers = await asyncio.gather(*[client.images.generate(**QUICK) for _ in range(3)])
            pictures = [levels(answer.data[0].b64_json) for answer in answers if answer.data]
            assert len(pictures) == 3
            stream = await client.images.generate(stream=True, partial_images=1, **QUICK)
            types = [event.type async for event in stream]
            assert types == ["image_generation.partial_image", "image_generation.completed"]

    asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_rows(server: Server, stream: bool) -> None:
    def cancelled() -> float:
        return server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled", stage="base")

    before, ticks = cancelled(), server.metric("sdxl_relay_tick_rows_count", stage="base")
    body = {"prompt": PROMPT, "size": "256x256", "num_inference_steps": 150, "stream": stream}
    host, port = server.url.removeprefix("http://").split(":")
    request = httpx.Request("POST", f"{server.url}/v1/images/generations", json={**body, "n": 1 if stream else 2})
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/images/generations HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(request.content), request.content)
        )
        wait_for(lambda: server.metric("sdxl_relay_tick_rows_count", stage="base") > ticks)
    wait_for(lambda: cancelled() == before + (1 if stream else 2))
    assert server.metric("sdxl_relay_jobs", stage="base") == 0


def test_leaving_a_stream_with_the_client(client: openai.OpenAI, server: Server) -> None:
    before = server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled", stage="base")
    stream = client.images.generate(stream=True, partial_images=3, **SLOW)
    assert next(iter(stream)).type == "image_generation.partial_image"
    stream.close()
    wait_for(lambda: server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled", stage="base") == before + 1)


def test_the_documents_have_the_routes(server: Server) -> None:
    document = httpx.get(f"{server.url}/docs.json").json()
    operation = document["paths"]["/v1/images/generations"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    fields = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]["properties"]
    assert fields["n"]["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 10}
    assert "text/event-stream" in operation["responses"]["200"]["content"]
    assert "422" not in operation["responses"]


def test_the_guides_example(server: Server, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "guides" / "clients.md").read_text(), re.DOTALL)
    (example,) = [block for block in blocks if "import OpenAI" in block]
    ended = run_python(example, server, tmp_path)
    assert ended.returncode == 0, ended.stderr
    for name in ("cone-0.png", "cone-1.png"):
        with Image.open(tmp_path / name) as picture:
            assert judge(np.asarray(picture), SCENE).all_right
