"""diffusers' two pipelines on the mini checkpoint, used as the model cards use them, for the baselines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

from sdxl.picture.image import encode_picture

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "mini"
NO_TIMEOUT_S = 24 * 3_600  # a request may wait as long as it likes: no baseline is to give a false error


class Pipelines:
    """Base and refiner. They load on a thread that ends then, and compute on one thread of their own.

    The relay's runners do the same: with OpenMP's workers on several threads, there would be more of them than
    cores, and each operation would take several times as long (docs/explanation/performance.md).
    """

    def __init__(self) -> None:
        with ThreadPoolExecutor(1) as pool:
            self._base, self._refiner = pool.submit(_load).result()
        self._defaults: dict[str, Any] = json.loads((CHECKPOINT / "base" / "relay.json").read_text())
        self._thread = ThreadPoolExecutor(1)

    def pictures(
        self, prompts: Sequence[str], seeds: Sequence[int], num_inference_steps: int, width: int, height: int
    ) -> list[bytes]:
        """One PNG file for each prompt. Waits until all are done."""
        return self._thread.submit(
            self._pictures, list(prompts), seeds, num_inference_steps, width, height
        ).result()  # fmt: skip

    def _pictures(
        self, prompts: list[str], seeds: Sequence[int], num_inference_steps: int, width: int, height: int
    ) -> list[bytes]:
        cutoff = self._defaults["high_noise_frac"]
        shared = {
            "prompt": prompts,
            "generator": [torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            "num_inference_steps": num_inference_steps,
        }
        with torch.inference_mode():
            latents = self._base(
                **shared,
                width=width,
                height=height,
                guidance_scale=self._defaults["guidance_scale"],
                denoising_end=cutoff,
                output_type="latent",
            ).images
            levels = self._refiner(
                **shared,
                image=latents,
                guidance_scale=self._defaults["refiner_guidance_scale"],
                denoising_start=cutoff,
                output_type="np",
            ).images  # float32 [prompts, height, width, 3], 0 to 1
        pixels = (levels * 255).round().astype("uint8")
        return [encode_picture(one, output_format="png", quality=90, watermark=False).data for one in pixels]


def _load() -> tuple[Any, Any]:
    base = StableDiffusionXLPipeline.from_pretrained(CHECKPOINT / "base", add_watermarker=False)
    refiner = StableDiffusionXLImg2ImgPipeline.from_pretrained(CHECKPOINT / "refiner", add_watermarker=False)
    for pipeline in (base, refiner):
        pipeline.set_progress_bar_config(disable=True)
    return base, refiner
