"""The invisible watermark's reader: what it finds after a picture was saved, resized or cropped, and what it makes up.

50 pictures of the mini checkpoint, 512 x 512 to 768 x 512, by the model cards' own code (made once, a quarter of an
hour; kept in `benchmarks/results/watermark`), are marked as the server does it, changed, and read without their
metadata. Then the same pictures without a watermark, and 300 of noise, plain colours, gradients and patterns.

Prints, for each change, the share of pictures in which the watermark is found, the mean share of right bits, and the
least correlation; beside it the share found by invisible-watermark's own reader (42 of 48 bits right, which chance
reaches as rarely), where the size is unchanged. Writes the same as JSON to `benchmarks/results/watermark.json`.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from imwatermark import WatermarkDecoder
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from sdxl.config.settings import MINI, Settings
from sdxl.picture.watermark import WATERMARK_BITS, Reading, find_watermark, with_watermark
from tests.service.reference import Reference
from training.scenes import scenes

PICTURES = 50
SIZES = [(512, 512), (768, 512), (512, 640), (640, 640)]
RESULTS = Path(__file__).parent / "results"
FOLDER = RESULTS / "watermark"
BITS_WANTED = 42
MAX_PIXELS = Settings.model_fields["max_pixels"].default

Change = Callable[[Image.Image], Image.Image]


def saved(picture: Image.Image, output_format: str, **options: Any) -> Image.Image:
    buffer = BytesIO()
    picture.save(buffer, output_format, **options)
    return Image.open(buffer).convert("RGB")


def resized(picture: Image.Image, scale: float, how: Resampling = Resampling.LANCZOS) -> Image.Image:
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), how)


def cropped(picture: Image.Image) -> Image.Image:
    """A tenth less on every side."""
    width, height = picture.size
    return picture.crop((width // 10, height // 10, width - width // 10, height - height // 10))


CHANGES: dict[str, Change] = {
    "nothing": lambda picture: picture,
    "JPEG 90, as the server writes it (4:4:4)": lambda picture: saved(picture, "jpeg", quality=90, subsampling="4:4:4"),
    "JPEG 90, coarser colours (4:2:0)": lambda picture: saved(picture, "jpeg", quality=90),
    "JPEG 75 (4:2:0)": lambda picture: saved(picture, "jpeg", quality=75),
    "WebP 90": lambda picture: saved(picture, "webp", quality=90),
    "resized to 75%": lambda picture: resized(picture, 0.75),
    "resized to 75%, bilinear": lambda picture: resized(picture, 0.75, Resampling.BILINEAR),
    "resized to 75%, JPEG 90 (4:4:4)": lambda picture: saved(
        resized(picture, 0.75), "jpeg", quality=90, subsampling="4:4:4"
    ),
    "resized to 75%, JPEG 90 (4:2:0)": lambda picture: saved(resized(picture, 0.75), "jpeg", quality=90),
    "resized to 50%": lambda picture: resized(picture, 0.5),
    "resized to 150%": lambda picture: resized(picture, 1.5),
    "resized to 80%, a size that is not tried": lambda picture: resized(picture, 0.8),
    "cropped": cropped,
}


def pictures(folder: Path = FOLDER) -> list[Image.Image]:
    """Those that are in the folder; what is missing is made."""
    folder.mkdir(parents=True, exist_ok=True)
    reference = None
    for i, scene in enumerate(scenes(77, PICTURES, held_out=True)):
        path = folder / f"{i:02}.png"
        if not path.exists():
            reference = reference or Reference(MINI)
            width, height = SIZES[i % 4] if i % 5 else SIZES[0]
            pixels = reference.generate(
                prompt=scene.caption, seed=i, num_inference_steps=12, guidance_scale=3.0, width=width, height=height
            )
            Image.fromarray(pixels).save(path)
    return [Image.open(path) for path in sorted(folder.glob("*.png"))]


def unmarked(count: int) -> Iterator[Image.Image]:
    """Pictures of nothing: noise of several kinds, plain colours, gradients, stripes, checks."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[0:512, 0:512].astype(np.float64)
    for i in range(count):
        kind, colour, other = i % 6, random.integers(0, 256, 3), random.integers(0, 256, 3)
        if kind == 0:
            levels = random.integers(0, 256, (512, 512, 3)).astype(np.float64)
        elif kind == 1:
            levels = colour + random.normal(0, random.uniform(1, 30), (512, 512, 3))
        elif kind == 2:
            levels = np.broadcast_to(colour, (512, 512, 3)).astype(np.float64)
        elif kind == 3:
            share = (x * random.uniform(-1, 1) + y * random.uniform(-1, 1)) / 1_024 + 0.5
            levels = share[:, :, None] * colour + (1 - share[:, :, None]) * other
        elif kind == 4:
            share = np.sin(x / random.uniform(1, 60) + y / random.uniform(1, 60)) / 2 + 0.5
            levels = share[:, :, None] * colour + (1 - share[:, :, None]) * other
        else:
            side = int(random.integers(2, 40))
            share = ((x // side + y // side) % 2)[:, :, None]
            levels = share * colour + (1 - share) * other
        yield Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def found(picture: Image.Image) -> Reading:
    reading = find_watermark(picture, max_pixels=MAX_PIXELS)
    assert reading is not None
    return reading


def bits_by_invisible_watermark(picture: Image.Image) -> int:
    bgr = np.ascontiguousarray(np.asarray(picture)[:, :, ::-1], dtype=np.float32)
    bits: NDArray[np.bool_] = WatermarkDecoder("bits", len(WATERMARK_BITS)).decode(bgr, "dwtDct")
    return int((bits == np.array(WATERMARK_BITS)).sum())


def summary(readings: Sequence[Reading]) -> dict[str, float]:
    correlations = [reading.correlation for reading in readings]
    return {
        "pictures": len(readings),
        "found": round(float(np.mean([reading.is_present for reading in readings])), 3),
        "right_bits": round(float(np.mean([reading.bits_right_share for reading in readings])), 3),
        "least_correlation": round(min(correlations), 2),
        "greatest_correlation": round(max(correlations), 2),
    }


def after_changes(plain: Sequence[Image.Image]) -> dict[str, dict[str, float]]:
    marked = [Image.fromarray(with_watermark(np.asarray(picture))) for picture in plain]
    results = {}
    for name, change in CHANGES.items():
        changed = [change(picture) for picture in marked]
        results[name] = summary([found(picture) for picture in changed])
        if all(one.size == other.size for one, other in zip(changed, marked, strict=True)):
            own = [bits_by_invisible_watermark(picture) >= BITS_WANTED for picture in changed]
            results[name]["found_by_invisible_watermark"] = round(float(np.mean(own)), 3)
        print(f"{name:42}", results[name], flush=True)
    return results


def without_watermark(plain: Sequence[Image.Image]) -> dict[str, dict[str, float]]:
    cases = {
        "the same pictures": list(plain),
        "the same, resized to 75%, JPEG 90": [CHANGES["resized to 75%, JPEG 90 (4:2:0)"](picture) for picture in plain],
        "noise, plain colours, gradients, patterns": list(unmarked(300)),
    }
    results = {name: summary([found(picture) for picture in these]) for name, these in cases.items()}
    for name, result in results.items():
        print(f"unmarked: {name:42}", result, flush=True)
    return results


def seconds_for_the_largest() -> float:
    """One reading of noise of as many pixels as are allowed, in which nothing ends the search early."""
    levels = np.random.default_rng(0).integers(0, 256, (1_024, 1_536, 3)).astype(np.uint8)
    begun = time.perf_counter()
    found(Image.fromarray(levels))
    return time.perf_counter() - begun


def main() -> None:
    plain = pictures()
    document = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "after": after_changes(plain),
        "unmarked": without_watermark(plain),
        "seconds_for_1536_x_1024": round(min(seconds_for_the_largest() for _ in range(3)), 2),
    }
    (RESULTS / "watermark.json").write_text(json.dumps(document, indent=2) + "\n")
    print(document["seconds_for_1536_x_1024"], "s for 1536 x 1024")


if __name__ == "__main__":
    main()
