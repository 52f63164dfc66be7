"""Larger pictures, and what files say."""

from __future__ import annotations

import asyncio
import base64
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo as Chunks
from pydantic import ValidationError

from entry.automatic1111.extras import ExtraSingle, enlarged
from entry.automatic1111.png_info import PngInfo, png_info
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from tests.entry.automatic1111.test_img2img import halves, text_of

SETTINGS = Settings(max_pixels=128 * 128, max_upload_mb=1)


def larger(picture: Image.Image, output_format: Any = "png", **fields: Any) -> Image.Image:
    wanted = ExtraSingle(image=text_of(picture), **fields)
    (text,) = asyncio.run(enlarged(wanted, [(wanted.image, "image")], output_format, SETTINGS))
    return Image.open(BytesIO(base64.b64decode(text)))


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"upscaler_1": "Lanczos"}, (128, 96)), ({"upscaler_1": "nearest", "upscaling_resize": "1.5"}, (96, 72)),
        ({}, (64, 48)), ({"upscaler_1": "None", "upscaling_resize": 4}, (64, 48)),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 100}, (100, 100)),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 100, "upscaling_resize_h": 100,
          "upscaling_crop": False}, (133, 100)),
        ({"upscaler_1": "Lanczos", "upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.5}, (128, 96)),
    ],
)  # fmt: skip
def test_sizes(fields: dict[str, Any], size: tuple[int, int]) -> None:
    assert larger(halves(64, 48), **fields).size == size


def test_two_ways_are_blended() -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    made = {name: np.asarray(larger(noise, upscaler_1=name)).astype(int) for name in ("Lanczos", "Nearest")}
    half = larger(noise, upscaler_1="Lanczos", upscaler_2="Nearest", extras_upscaler_2_visibility=0.5)
    assert np.abs(np.asarray(half) - (made["Lanczos"] + made["Nearest"]) / 2).max() <= 1
    assert (made["Nearest"] == np.asarray(noise).repeat(2, 0).repeat(2, 1)).all()


def test_the_pictures_of_a_request_share_its_room() -> None:
    text = text_of(halves(256, 256))
    wanted = ExtraSingle(image=text, upscaler_1="Lanczos")
    assert len(asyncio.run(enlarged(wanted, [(text, "image")], "png", SETTINGS))) == 1
    with pytest.raises(RelayError, match=f"upscaling_resize: .*{16 * 128 * 128 // 2} pixels for each"):
        asyncio.run(enlarged(wanted, [(text, "a"), (text, "b")], "png", SETTINGS))


def test_the_file_has_the_wanted_format() -> None:
    assert larger(halves(), "webp").format == "WEBP"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"upscaler_1": "R-ESRGAN 4x+"}, "upscaler_1"), ({"gfpgan_visibility": 0.5}, "gfpgan_visibility"),
        ({"codeformer_visibility": "1"}, "codeformer_visibility"),
        ({"upscaler_1": "Lanczos", "upscaling_resize": 16}, "upscaling_resize"),
        ({"upscaler_1": "Lanczos", "resize_mode": 1, "upscaling_resize_w": 8_000}, "upscaling_resize_w"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(RelayError) as raised:
        larger(halves(), **fields)
    assert (raised.value.status, raised.value.field) == (400, field)
    with pytest.raises(ValidationError):
        ExtraSingle(image="a", upscaling_resize=0)


TEXT = """a cube, <lora:x:1>
Negative prompt: a cone
Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7.5, Seed: 5, Size: 512x768, Model hash: 0123456789, \
Model: dream, Lora hashes: "x: 0123, y: 4567", Version: v1.10.1"""


def test_a_picture_of_automatic1111() -> None:
    chunks = Chunks()
    chunks.add_text("parameters", TEXT)
    buffer = BytesIO()
    halves().save(buffer, "PNG", pnginfo=chunks)
    read = png_info(PngInfo(image=base64.b64encode(buffer.getvalue()).decode()), SETTINGS)
    assert (read.info, read.items) == (TEXT, {})
    assert read.parameters == {
        "Prompt": "a cube, <lora:x:1>", "Negative prompt": "a cone", "Steps": "20", "Sampler": "DPM++ 2M",
        "Schedule type": "Karras", "CFG scale": "7.5", "Seed": "5", "Size-1": "512", "Size-2": "768",
        "Model hash": "0123456789", "Model": "dream", "Lora hashes": "x: 0123, y: 4567", "Version": "v1.10.1",
    }  # fmt: skip


def test_a_picture_that_says_nothing() -> None:
    read = png_info(PngInfo(image=text_of(halves(), "data:image/png;base64,")), SETTINGS)
    assert read.model_dump() == {"info": "", "items": {}, "parameters": {}}
    with pytest.raises(RelayError, match="image: "):
        png_info(PngInfo(image="AAAA"), SETTINGS)
