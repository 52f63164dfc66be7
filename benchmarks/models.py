"""Many models: this server against pipelines that load on each change, under the same requests.

(a) is a diffusers pipeline that loads a checkpoint whenever another is asked for, one request at a time, as
AUTOMATIC1111 does; (b) keeps the ten last used. Both run in this process, without HTTP: their service times are
measured request by request, and how long each request waits follows from these, for they are served in order. (c) is
this server, by HTTP, with memory for ten models, under the same arrivals. Checkpoints are made of the mini. Steps and
size are such that loading takes about as long as making the pictures. In the trace it takes longer: 22.7 s, and 15.1 s.
Prints the figures; writes `models.json` to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import tempfile
import time
from collections import OrderedDict
from pathlib import Path
from statistics import mean
from typing import Any

import aiohttp
import torch
from diffusers import StableDiffusionXLPipeline

from benchmarks.load import machine
from benchmarks.models_folder import file_of, name_of, write_many
from benchmarks.models_trace import MODELS, Asked, lru_loads, requests
from sdxl.config.settings import MINI
from tests.service.server import ROOT, serving

RESULTS = Path(__file__).parent / "results"
KEPT, LORAS = 10, 5
PROMPT = "a red cube on top of a blue sphere, yellow background"
GUIDANCE = 3.0


class Pipelines:
    """One request at a time, with the last `kept` models in memory."""

    def __init__(self, folder: Path, kept: int, options: argparse.Namespace) -> None:
        self._folder, self._kept, self._options = folder, kept, options
        self._there: OrderedDict[int, Any] = OrderedDict()
        self.load_s: list[float] = []
        self.made_s: list[float] = []

    @torch.inference_mode()
    def serve(self, asked: Asked) -> float:
        """Seconds of the request."""
        begun = time.perf_counter()
        pipeline = self._pipeline(asked.model)
        loaded = time.perf_counter()
        if asked.lora is not None:
            pipeline.load_lora_weights(self._folder / "loras" / f"l{asked.lora}.safetensors")
        seeds = range(asked.seed, asked.seed + asked.pictures)
        side = self._options.side
        pipeline(
            prompt=[PROMPT] * asked.pictures,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
            num_inference_steps=self._options.steps,
            guidance_scale=GUIDANCE,
            width=side,
            height=side,
        )
        if asked.lora is not None:
            pipeline.unload_lora_weights()
        self.made_s.append(time.perf_counter() - loaded)
        return time.perf_counter() - begun

    def forget(self) -> None:
        """Lets go of all models."""
        self._there.clear()
        gc.collect()

    def _pipeline(self, model: int) -> Any:
        if model not in self._there:
            if len(self._there) == self._kept:
                self._there.popitem(last=False)
                gc.collect()
            begun = time.perf_counter()
            path = str(self._folder / "checkpoints" / file_of(model))
            options = {"config": str(MINI / "base"), "local_files_only": True, "add_watermarker": False}
            self._there[model] = StableDiffusionXLPipeline.from_single_file(path, **options)
            self._there[model].set_progress_bar_config(disable=True)
            self.load_s.append(time.perf_counter() - begun)
        self._there.move_to_end(model)
        return self._there[model]


def waits(asked: list[Asked], service_s: list[float]) -> list[float]:
    """Seconds from each arrival to its answer, one after the other in order."""
    free_at, answered = 0.0, []
    for each, seconds in zip(asked, service_s, strict=True):
        free_at = max(free_at, each.at_s) + seconds
        answered.append(free_at - each.at_s)
    return answered


async def by_server(url: str, asked: list[Asked], options: argparse.Namespace) -> list[float]:
    """The same of this server. Raises RuntimeError for whatever is no picture."""
    begun = time.perf_counter()

    async def picture(session: aiohttp.ClientSession, each: Asked, seed: int) -> None:
        loras = [] if each.lora is None else [{"name": f"l{each.lora}"}]
        fields = {
            "prompt": PROMPT, "seed": seed, "num_inference_steps": options.steps, "guidance_scale": GUIDANCE,
            "width": options.side, "height": options.side, "model": name_of(each.model), "loras": loras,
            "watermark": False,
        }  # fmt: skip
        async with session.post(f"{url}/generate", json=fields) as answer:
            if answer.status != 200:
                raise RuntimeError(await answer.text())
            await answer.read()

    async def request(session: aiohttp.ClientSession, each: Asked) -> float:
        await asyncio.sleep(max(0.0, begun + each.at_s - time.perf_counter()))
        await asyncio.gather(*(picture(session, each, seed) for seed in range(each.seed, each.seed + each.pictures)))
        return time.perf_counter() - begun - each.at_s

    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        return list(await asyncio.gather(*(request(session, each) for each in asked)))


async def loads_of(url: str) -> int:
    """How many models the server has loaded while it served."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    counts = [line for line in lines if line.startswith("sdxl_relay_load_seconds_count") and 'kind="lora"' not in line]
    return int(sum(float(line.rpartition(" ")[2]) for line in counts))


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "models"
        write_many(folder, MODELS, LORAS)
        first = requests(options.requests, 1.0, LORAS, options.seed)
        by_pipelines = {kept: Pipelines(folder, kept, options) for kept in (1, KEPT)}
        service_s = {kept: [one.serve(each) for each in first] for kept, one in by_pipelines.items()}
        for one in by_pipelines.values():
            one.forget()
        rate = options.load / mean(service_s[1])
        asked = requests(options.requests, rate, LORAS, options.seed)  # the same but for the times
        a, b = (waits(asked, service_s[kept]) for kept in (1, KEPT))
        size_gb = options.model_mb / 1_000 * (KEPT + 0.5) + options.shared_mb / 1_000
        environment = {
            "SDXL_MODELS": str(folder), "SDXL_RESIDENT_GB": f"{size_gb}", "SDXL_REFINER": "none",
            "SDXL_BASE_CONFIG": str(MINI / "base"),
            "SDXL_MAX_JOBS": "100000", "SDXL_TIMEOUT_S": "86400",
        }  # fmt: skip
        home = Path(temporary) / "home"
        home.mkdir()
        with serving(home, ".", ROOT, **environment) as server:
            asyncio.run(by_server(server.url, asked[:5], options))
            loads_before = asyncio.run(loads_of(server.url))
            c = asyncio.run(by_server(server.url, asked, options))
            loads = asyncio.run(loads_of(server.url)) - loads_before
    made = by_pipelines[1]
    report = {
        "machine": machine(),
        "options": vars(options),
        "load_s": mean(made.load_s),
        "pictures_s": mean(made.made_s),
        "rate_per_s": rate,
        "mean_s": {"a": mean(a), "b": mean(b), "c": mean(c)},
        "p95_s": {name: sorted(each)[int(0.95 * len(each))] for name, each in {"a": a, "b": b, "c": c}.items()},
        "c_of_a": mean(c) / mean(a),
        "c_of_b": mean(c) / mean(b),
        "loads": {"a": len(made.load_s), "b": len(by_pipelines[KEPT].load_s), "c": loads},
        "lru_loads": lru_loads(asked, KEPT),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "models.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--steps", type=int, default=4, help="of a picture (default %(default)s)")
    parser.add_argument("--side", type=int, default=64, help="pixels of a picture's side (default %(default)s)")
    parser.add_argument("--load", type=float, default=0.85, help="share of what (a) can do (default %(default)s)")
    parser.add_argument("--seed", default="0")
    parser.add_argument("--model-mb", type=float, default=24.3, help="of one UNet in memory (default %(default)s)")
    parser.add_argument("--shared-mb", type=float, default=12.0, help="of what all have (default %(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
