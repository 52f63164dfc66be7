"""torch, torch.compile, OpenVINO and ONNX Runtime on the CPU, side by side: `python -m benchmarks.backends`.

Each has a process of its own, which loads the mini checkpoint as a runner does, and then waits to be asked. All are
asked for the same work in turns, several rounds over, so that whatever else the machine does meets them all alike.
Medians count; ratios are taken within a round, of the processes' CPU time with one thread, in which nobody waits, and
of the wall time with two. torch.compile has dynamic rows and nothing in its cache; it takes minutes to start, so it
must be asked for: `--backends compile,openvino,onnxruntime --threads 1 --stages base`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

BACKENDS = ("torch", "openvino", "onnxruntime")
ROWS = (1, 2, 4, 8, 16)
CALLS = 3  # timed ones of a task in a round, after one that is not
RESULT = Path(__file__).parent / "results" / "backends.json"


def child(name: str, stages: list[str]) -> None:
    """Says what it took to load the base and do its tasks once; then answers names of tasks by `milliseconds`."""
    import psutil
    import torch

    begun = time.perf_counter()
    works: dict[str, Callable[[], object]] = {}
    with torch.inference_mode():
        for stage in stages:
            works |= stage_works(stage, name)
            if stage == "base":
                start = {"start_s": time.perf_counter() - begun, "start_cpu_s": time.process_time()}
                start["memory_mb"] = psutil.Process().memory_full_info().uss / 1e6
        print(json.dumps(start), flush=True)
        for line in sys.stdin:
            times = [milliseconds(works[line.strip()]) for _ in range(CALLS + 1)]
            print(json.dumps(times[1:]), flush=True)


def stage_works(stage: Any, name: str) -> dict[str, Callable[[], object]]:
    """The stage's tasks, each called once; those that are not rows are the base's alone."""
    import torch

    from sdxl.catalog.watch import Watched
    from sdxl.config.settings import Settings
    from sdxl.denoising.latents import decode
    from sdxl.models.checkpoint import load
    from sdxl.models.prompt_cache import Wording

    backend = "torch" if name == "compile" else name
    settings = Settings.model_validate({"device": "cpu", "backend": backend})
    catalog = Watched(settings).catalog
    name = catalog.default if stage == "base" else str(catalog.refiner)
    checkpoint = load(stage, catalog.models[name], settings, Path)
    pipeline = checkpoint.pipeline
    unet, config = pipeline.unet, pipeline.unet.config
    if name == "compile":
        unet = torch.compile(unet, dynamic=True)
    pooled = pipeline.text_encoder_2.config.projection_dim
    ids = (config.projection_class_embeddings_input_dim - pooled) // config.addition_time_embed_dim

    def tick(rows: int) -> Callable[[], object]:
        inputs = (torch.randn(rows, 4, config.sample_size, config.sample_size), torch.full((rows,), 500))
        told = torch.randn(rows, 77, config.cross_attention_dim)
        added = {"text_embeds": torch.randn(rows, pooled), "time_ids": torch.full((rows, ids), 128.0)}
        return lambda: unet(*inputs, encoder_hidden_states=told, added_cond_kwargs=added, return_dict=False)

    works = {f"{stage} {rows}": tick(rows) for rows in ROWS}
    if stage == "base":
        latents = torch.randn(1, 4, config.sample_size, config.sample_size)
        encode = checkpoint.prompts._encode_anew  # what it keeps would be no measurement
        works["decode"] = lambda: decode(pipeline, latents)
        wording = Wording(texts=("a red cube on top of a blue sphere",) * 2)
        works["encode"] = lambda: encode(wording, (), ())
    for work in works.values():
        work()
    return works


def milliseconds(work: Callable[[], object]) -> tuple[float, float]:
    """On the wall's clock, and of all the process's threads."""
    begun, cpu_begun = time.perf_counter(), time.process_time()
    work()
    cpu = time.process_time() - cpu_begun
    return 1000 * (time.perf_counter() - begun), 1000 * cpu


class Contender:
    """A child process; it does nothing but what it is asked."""

    def __init__(self, name: str, threads: int, stages: list[str], cache: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SDXL_")}
        environment |= {"OMP_NUM_THREADS": str(threads), "TORCHINDUCTOR_CACHE_DIR": str(cache)}
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "benchmarks.backends",
                "--child",
                name,
                "--stages",
                ",".join(stages),
            ],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.start: dict[str, float] = self._answer()

    def times(self, task: str) -> list[tuple[float, float]]:
        """`milliseconds` of each call."""
        assert self._process.stdin
        self._process.stdin.write(f"{task}\n")
        self._process.stdin.flush()
        answer: list[tuple[float, float]] = self._answer()
        return answer

    def end(self) -> None:
        self._process.communicate()

    def _answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


def measure(names: list[str], threads: int, stages: list[str], rounds: int) -> dict[str, Any]:
    """For each backend: what its start took, and for each task its milliseconds and how much faster than torch."""
    tasks = [*(f"{stage} {rows}" for stage, rows in product(stages, ROWS)), "encode", "decode"]
    with tempfile.TemporaryDirectory() as cache:
        contenders = {name: Contender(name, threads, stages, Path(cache)) for name in names}  # one after the other
        walls: dict[str, dict[str, list[float]]] = {name: {task: [] for task in tasks} for name in names}
        gains: dict[str, dict[str, list[float]]] = {name: {task: [] for task in tasks} for name in names}
        for number, task in product(range(rounds), tasks):
            turn = number % len(names)
            of_round = {name: contenders[name].times(task) for name in names[turn:] + names[:turn]}
            clock = 1 if threads == 1 else 0
            compared = {name: median(call[clock] for call in calls) for name, calls in of_round.items()}
            for name, calls in of_round.items():
                walls[name][task] += [wall for wall, _ in calls]
                gains[name][task].append(compared["torch"] / compared[name])
        for contender in contenders.values():
            contender.end()
    return {
        name: {
            **contender.start,
            "ms": {task: round(median(walls[name][task]), 2) for task in tasks},
            "gain": {task: round(median(gains[name][task]), 2) for task in tasks},
        }
        for name, contender in contenders.items()
    }


def print_table(threads: int, results: dict[str, Any]) -> None:
    print(f"\n{threads} thread(s): ms, and how many times as fast as torch\n")
    print("| | " + " | ".join(results) + " |\n|---|" + "---|" * len(results))
    for task in results["torch"]["ms"]:
        cells = (f"{result['ms'][task]:.1f} ({result['gain'][task]:.2f})" for result in results.values())
        print(f"| {task} | " + " | ".join(cells) + " |")
    print("| start of the base, s | " + " | ".join(f"{result['start_s']:.1f}" for result in results.values()) + " |")
    print("| its CPU, s | " + " | ".join(f"{result['start_cpu_s']:.1f}" for result in results.values()) + " |")
    print("| memory, MB | " + " | ".join(f"{result['memory_mb']:.0f}" for result in results.values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--child", help="for its own use")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backends", default=",".join(BACKENDS), help="torch is always among them")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--stages", default="base,refiner", help="base is always among them")
    given = parser.parse_args()
    stages = given.stages.split(",")
    if given.child:
        child(given.child, stages)
        return
    names = ["torch", *(name for name in given.backends.split(",") if name != "torch")]
    packages = ("torch", "openvino", "onnxruntime")
    document: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {package: version(package) for package in packages},
        "rounds": given.rounds,
        "load_average_before": os.getloadavg(),
        "threads": {},
    }
    for threads in map(int, given.threads.split(",")):
        document["threads"][threads] = results = measure(names, threads, stages, given.rounds)
        print_table(threads, results)
    document["load_average_after"] = os.getloadavg()
    print(f"\nload average {document['load_average_before'][0]:.1f} to {document['load_average_after'][0]:.1f}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
