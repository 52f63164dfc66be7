"""Encoded pictures: formats, quality, and the watermark."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.watermark import WATERMARK_BITS, StableDiffusionXLWatermarker
from imwatermark import WatermarkDecoder

from sdxl.picture import watermark
from sdxl.picture.image import encode_picture
from sdxl.request.fields import OutputFormat
from tests.sdxl.picture.pictures import Pixels, decoded, textured


def share_of_right_bits(pixels: Pixels) -> float:
    bgr = np.ascontiguousarray(pixels[:, :, ::-1], dtype=np.float32)
    bits = WatermarkDecoder("bits", len(WATERMARK_BITS)).decode(bgr, "dwtDct")
    return float(np.mean(bits == np.array(WATERMARK_BITS)))


@pytest.mark.parametrize(
    ("output_format", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF")]
)
def test_formats(output_format: OutputFormat, magic: bytes) -> None:
    picture = encode_picture(textured(64, 96), output_format=output_format, quality=90, watermark=True)
    assert picture.data.startswith(magic)
    assert picture.media_type == f"image/{output_format}"
    assert not picture.watermarked
    assert decoded(picture.data).shape == (64, 96, 3)


def test_png_is_exact_without_watermark() -> None:
    pixels = textured(256, 256)
    picture = encode_picture(pixels, output_format="png", quality=1, watermark=False)
    assert not picture.watermarked
    assert np.array_equal(decoded(picture.data), pixels)


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_quality_costs_bytes_and_saves_error(output_format: OutputFormat) -> None:
    pixels = textured(128, 128)
    sizes, errors = [], []
    for quality in (1, 50, 90, 100):
        data = encode_picture(pixels, output_format=output_format, quality=quality, watermark=False).data
        sizes.append(len(data))
        errors.append(float(np.abs(decoded(data).astype(int) - pixels).mean()))
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


# The watermark


def test_bits_are_those_of_diffusers() -> None:
    assert watermark.WATERMARK_BITS == WATERMARK_BITS


@pytest.mark.parametrize(
    ("height_px", "width_px", "marks"),
    [
        (256, 256, True),
        (264, 264, True),
        (128, 512, True),
        (128, 256, False),  # 32,768 pixels
        (256, 248, False),  # narrower than 256
        (400, 200, False),  # narrower than 256, though 80,000 pixels
        (248, 264, False),  # 65,472 pixels
        (248, 272, True),
    ],
)
def test_only_pictures_that_are_large_enough_are_marked(height_px: int, width_px: int, marks: bool) -> None:
    pixels = textured(height_px, width_px)
    picture = encode_picture(pixels, output_format="png", quality=90, watermark=True)
    assert picture.watermarked == marks
    assert np.array_equal(decoded(picture.data), pixels) != marks


@pytest.mark.parametrize("output_format", ["png", "jpeg"])
@pytest.mark.parametrize(("side_px", "at_least"), [(1024, 0.96), (512, 0.9)])
def test_the_watermark_can_be_read(output_format: OutputFormat, side_px: int, at_least: float) -> None:
    pixels = textured(side_px, side_px)
    marked = encode_picture(pixels, output_format=output_format, quality=90, watermark=True).data
    assert share_of_right_bits(pixels) < 0.7
    assert share_of_right_bits(decoded(marked)) >= at_least


def test_the_watermark_is_hard_to_see() -> None:
    pixels = textured(512, 512)
    marked = decoded(encode_picture(pixels, output_format="png", quality=90, watermark=True).data)
    difference = np.abs(marked.astype(int) - pixels)
    assert difference.mean() < 1.5
    assert np.percentile(difference, 99) <= 16
    assert difference.max() <= 60  # one cell of 2 x 2 pixels in each block of 8 x 8, in blue


def test_watermark_is_the_one_that_diffusers_writes() -> None:
    pixels = textured(264, 320)
    ours = decoded(encode_picture(pixels, output_format="png", quality=90, watermark=True).data)
    latent_range = torch.from_numpy(pixels).permute(2, 0, 1)[None].double() / 127.5 - 1
    theirs = StableDiffusionXLWatermarker().apply_watermark(latent_range)
    theirs_pixels = ((theirs / 2 + 0.5) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
    assert np.mean(ours != theirs_pixels) < 0.001


def test_threads_do_not_disturb_each_other() -> None:
    pictures = [textured(256, 256, seed) for seed in range(4)]

    def encode(index: int) -> bytes:
        return encode_picture(pictures[index % 4], output_format="png", quality=90, watermark=True).data

    alone = [encode(index) for index in range(4)]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(encode, range(16))) == alone * 4
