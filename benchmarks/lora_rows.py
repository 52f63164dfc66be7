"""Rows with unlike LoRAs in one tick, against a tick for each LoRA; and what a tick without LoRAs costs.

On the mini base: four jobs of one row, and of two, as with guidance. All are called by turns, many times, and medians
count.
Prints the figures, and writes `lora_rows.json` to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline

from benchmarks.load import machine
from sdxl.config.settings import MINI
from sdxl.models.lora import LoadedLoras
from sdxl.models.unet import unet_of, with_loras
from stepbatch.denoising import Conditioning
from stepbatch.tick import UNet
from tests.sdxl.models.lora_files import write_kohya

RESULTS = Path(__file__).parent / "results"
LORAS = 4


def conditioning(pipeline: Any, adapters: list[tuple[Any, ...]]) -> Conditioning:
    """Random, of one row for each."""
    config, rows = pipeline.unet.config, len(adapters)
    pooled = pipeline.text_encoder_2.config.projection_dim
    return Conditioning(
        embeddings=torch.randn(rows, 77, config.cross_attention_dim),
        pooled=torch.randn(rows, pooled),
        time_ids=torch.full((rows, 6), 128.0),
        adapters=tuple(adapters) if any(adapters) else (),
    )


def call_of(unet: UNet, told: Conditioning) -> Callable[[], object]:
    """A tick of the mini's native size."""
    latents, timesteps = torch.randn(told.rows, 4, 16, 16), torch.full((told.rows,), 500.0)
    return lambda: unet(latents, timesteps, told)


def medians(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of each, called by turns."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(rounds):
        for name, work in works.items():
            begun = time.perf_counter()
            work()
            took[name].append(1_000 * (time.perf_counter() - begun))
    return {name: median(each) for name, each in took.items()}


@torch.inference_mode()
def main() -> None:
    options = _options()
    pipeline = StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)
    loras = LoadedLoras(pipeline)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(LORAS):
            path = write_kohya(Path(folder) / f"{number}.safetensors", pipeline, ["unet"], seed=number)
            loras.add(str(number), loras.read(path))
    plain = unet_of(pipeline.unet)
    unet = with_loras(plain, loras)
    report: dict[str, Any] = {"machine": machine(), "options": vars(options)}
    for rows_each in (1, 2):
        rows = [((str(number), 1.0),) for number in range(LORAS) for _ in range(rows_each)]
        parts = [rows[number * rows_each : (number + 1) * rows_each] for number in range(LORAS)]
        in_turn = [call_of(unet, conditioning(pipeline, part)) for part in parts]
        works = {
            "together": call_of(unet, conditioning(pipeline, rows)),
            "in turn": lambda calls=in_turn: [call() for call in calls],  # type: ignore[misc]
        }
        with_some = medians(works, options.rounds)
        none = conditioning(pipeline, [()] * len(rows))
        loras.for_rows([])
        without = medians({"plain": call_of(plain, none), "ours": call_of(unet, none)}, options.rounds)
        report[f"{rows_each} rows each"] = {
            "ms": {**with_some, **without},
            "throughput_together": with_some["in turn"] / with_some["together"],
            "without_loras": without["ours"] / without["plain"],
            "with_4_of_without": with_some["together"] / without["ours"],
        }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "lora_rows.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    return parser.parse_args()


if __name__ == "__main__":
    main()
