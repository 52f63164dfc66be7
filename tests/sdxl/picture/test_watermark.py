"""The watermark is found after what usually happens to pictures, and nowhere else.

benchmarks/watermark.py measures the same over 50 pictures of the mini checkpoint.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from sdxl.picture.watermark import (
    FALSE_POSITIVE_RATE,
    MAX_SIZES,
    PRESENT_FROM,
    Reading,
    find_watermark,
    sizes_to_try,
    with_watermark,
)
from tests.sdxl.picture.pictures import Pixels, decoded, encoded, textured

MAX_PIXELS = 1536 * 1024


def scene(height_px: int, width_px: int, seed: int = 0) -> Pixels:
    """Two shaded discs on a plain background, as the mini checkpoint draws solids: [height, width, 3]."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height_px, :width_px]
    levels = np.broadcast_to(random.integers(40, 200, 3), (height_px, width_px, 3)).astype(np.float64)
    for _ in range(2):
        centre, radius = random.uniform(0.2, 0.8, 2) * (height_px, width_px), random.uniform(0.1, 0.3) * height_px
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        shade = 0.6 + 0.4 * (y - centre[0] + radius) / (2 * radius)
        levels = np.where(inside[:, :, None], random.integers(0, 256, 3) * shade[:, :, None], levels)
    pixels: Pixels = (levels + random.normal(0, 1, levels.shape)).clip(0, 255).round().astype(np.uint8)
    return pixels


def found(picture: Image.Image | Pixels, made_as: tuple[int, int] | None = None) -> Reading:
    picture = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    reading = find_watermark(picture, made_as=made_as, max_pixels=MAX_PIXELS)
    assert reading is not None
    return reading


@pytest.mark.parametrize("pixels", [scene(512, 512), scene(512, 768, 1), scene(256, 264, 2), textured(512, 512)])
def test_it_is_read(pixels: Pixels) -> None:
    assert not found(pixels).is_present
    reading = found(with_watermark(pixels))
    assert reading.is_present
    assert reading.bits_right_share == 1.0
    assert (reading.height, reading.width) == pixels.shape[:2]


def test_diffusers_own_is_read() -> None:
    import torch
    from diffusers.pipelines.stable_diffusion_xl.watermark import StableDiffusionXLWatermarker

    latent_range = torch.from_numpy(scene(512, 512)).permute(2, 0, 1)[None].float() / 127.5 - 1
    marked = StableDiffusionXLWatermarker().apply_watermark(latent_range)
    pixels = ((marked / 2 + 0.5) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
    assert found(pixels).bits_right_share == 1.0


@pytest.mark.parametrize(
    ("output_format", "options"),
    [("JPEG", {"quality": 90}), ("JPEG", {"quality": 90, "subsampling": "4:4:4"}), ("WEBP", {"quality": 90})],
    ids=str,
)
def test_it_survives_saving(output_format: str, options: dict[str, object]) -> None:
    for seed in range(4):
        marked = Image.fromarray(with_watermark(scene(640, 640, seed)))
        assert found(decoded(encoded(marked, output_format, **options))).is_present


@pytest.mark.parametrize("how", [Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR])
@pytest.mark.parametrize("scale", [0.5, 0.75, 1.5])
def test_it_survives_resizing(scale: float, how: Image.Resampling) -> None:
    for seed in range(3):
        pixels = with_watermark(scene(512, 640, seed))
        reading = found(Image.fromarray(pixels).resize((round(640 * scale), round(512 * scale)), how))
        assert reading.is_present
        assert (reading.height, reading.width) == (512, 640)


def test_any_size_is_read_if_it_is_known() -> None:
    smaller = Image.fromarray(with_watermark(scene(512, 512))).resize((411, 411))
    assert not found(smaller).is_present
    assert found(smaller, made_as=(512, 512)).is_present
    assert found(smaller, made_as=(8, 70_000)).correlation < PRESENT_FROM


def test_resized_and_saved_as_the_server_saves() -> None:
    smaller = Image.fromarray(with_watermark(scene(640, 640))).resize((480, 480))
    assert found(decoded(encoded(smaller, "JPEG", quality=90, subsampling="4:4:4"))).is_present


def test_plain_noise_and_gradients_have_none() -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:256, :384]
    pictures = [np.full((256, 384, 3), level, np.uint8) for level in (0, 127, 255)]
    pictures += [random.integers(0, 256, (256, 384, 3)).astype(np.uint8) for _ in range(10)]
    pictures += [np.stack([x * 255 // 384, y, 255 - y], axis=2).astype(np.uint8)]
    assert not any(found(picture).is_present for picture in pictures)


@pytest.mark.parametrize("size", [(255, 2_000), (256, 255), (64, 64), (1, 70_000)])
def test_pictures_that_are_too_small_for_it(size: tuple[int, int]) -> None:
    reading = find_watermark(Image.new("RGB", size), max_pixels=size[0] * size[1])
    assert reading is None


def test_narrow_and_odd_pictures() -> None:
    for size in ((70_000, 1), (9_000, 9), (517, 333)):
        assert not found(Image.new("RGB", size, (10, 200, 30))).is_present


def test_few_sizes_are_tried() -> None:
    assert sizes_to_try((768, 768), None, MAX_PIXELS)[:3] == [(768, 768), (1024, 1024), (1152, 1152)]
    assert (1216, 832) in sizes_to_try((608, 416), None, MAX_PIXELS)
    assert sizes_to_try((768, 768), (2_000, 2_000), MAX_PIXELS)[0] == (768, 768)
    for size in ((768, 768), (1216, 832), (333, 517), (1536, 1024)):
        tried = sizes_to_try(size, (640, 640), MAX_PIXELS)
        assert len(tried) <= MAX_SIZES
        assert all(width * height <= MAX_PIXELS for width, height in tried)


def test_the_false_positive_rate_is_that_of_students_t() -> None:
    from scipy import stats

    freedom = 46
    by_chance = stats.t.sf(PRESENT_FROM * np.sqrt(freedom / (1 - PRESENT_FROM**2)), freedom)
    assert 2 * MAX_SIZES * by_chance <= FALSE_POSITIVE_RATE


def test_chance_correlates_as_students_t_says() -> None:
    """Over noise, at a threshold that chance often reaches."""
    random = np.random.default_rng(1)
    readings = [
        find_watermark(Image.fromarray(random.integers(0, 256, (256, 256, 3)).astype(np.uint8)), max_pixels=256 * 256)
        for _ in range(300)
    ]
    # The greater of two readings reaches 0.243 in 1 - 0.95 ** 2 of all cases.
    share = np.mean([reading.correlation > 0.243 for reading in readings if reading])
    assert 0.05 < share < 0.15
