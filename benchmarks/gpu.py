"""Pictures per second, seconds per picture and tick times of SDXL on a GPU, beside diffusers and the floor.

Needs torch, transformers, accelerate, safetensors, diffusers and pydantic; no checkpoint, for random weights in full
size take the same time. The parts:

1. "base": the base alone, 20 steps of Euler, guidance 8 (MLPerf's setting): pictures per second, many at once.
2. "ensemble": 40 steps, 32 by the base and 8 by the refiner: seconds for one picture, and pictures per second.
3. "ticks": a UNet call by its rows, for both UNets, as a share of the matrix peak measured here.
4. "memory": the peak for both stages together, by SDXL_OFFLOAD and SDXL_QUANTIZE.

Each for the contenders "eager" and "compile" (diffusers, without and with torch.compile) and "relay" (this engine). The
floor is the FLOPs (benchmarks/gpu_models.py) at the measured peak. What would begin after `--budget-s` is left out, and
said. Every contender's picture is compared with diffusers' own.

    python -m benchmarks.gpu --out gpu.json                  # everything, on a GPU
    python -m benchmarks.gpu --small --parts base ticks      # on a CPU, to see that it works
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch

from benchmarks.gpu_contenders import Contender, Diffusers, Relay
from benchmarks.gpu_memory import FORMS, peak_gb
from benchmarks.gpu_models import count_flops, make_pipelines
from benchmarks.gpu_parts import Bench, check, peak_flops_per_s, run_base, run_ensemble, run_ticks
from sdxl.config.settings import Settings

PARTS = ("base", "ensemble", "ticks", "memory")
CONTENDERS = ("relay", "eager", "compile")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="the JSON file")
    parser.add_argument("--small", action="store_true", help="small models and pictures")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--compile", default="on", help="SDXL_COMPILE of this engine: off, graphs, on or max")
    parser.add_argument("--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16")
    parser.add_argument("--rows", nargs="+", type=int, default=[1, 2, 4, 8, 16])
    parser.add_argument("--max-rows", type=int, default=16, help="of this engine's ticks")
    parser.add_argument("--pictures", type=int, default=8, help="at once, where pictures per second are measured")
    parser.add_argument("--steps", type=int, default=40, help="of the ensemble; the base alone has half of them")
    parser.add_argument("--side", type=int, default=1024, help="of the pictures, in pixels")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tolerance", type=float, default=6.0, help="mean levels from diffusers' pictures at most")
    parser.add_argument("--budget-s", type=float, default=480.0, help="what would begin later is left out")
    return parser.parse_args(arguments)


def measure(bench: Bench, dtype: torch.dtype) -> dict[str, float]:
    """All contenders, one after the other; gives how far each one's pictures are from diffusers' own, in levels."""
    options = bench.options
    diffusers_own = make_pipelines(dtype, bench.device, small=options.small)
    reference = Diffusers(diffusers_own, compiled=False)
    levels: dict[str, float] = {}
    variables = {"SDXL_COMPILE": options.compile, "SDXL_MAX_ROWS": str(options.max_rows)}
    settings = Settings.from_environment({**variables, "SDXL_COMPILE_SIZES": f"{options.side}x{options.side}"})
    # With weights of its own, for it lays them out otherwise; they are the same numbers.
    with Relay(make_pipelines(dtype, bench.device, small=options.small), settings, bench.device) as relay:
        torch.compiler.set_stance("default")  # for the others; this engine has compiled what it will

        def run(name: str, make: Callable[[], Contender]) -> None:
            contender = make()
            levels[name] = check(bench, contender, reference)
            parts: dict[str, Callable[[], None]] = {
                "ticks": partial(run_ticks, bench, name, contender, relay),
                "base": partial(run_base, bench, name, contender),
                "ensemble": partial(run_ensemble, bench, name, contender),
            }
            for part in options.parts:
                if part in parts:
                    bench.attempt(f"{part}, {name}", parts[part])

        made: dict[str, Callable[[], Contender]] = {
            "relay": lambda: relay,
            "eager": lambda: reference,
            "compile": lambda: Diffusers(diffusers_own, compiled=True),
        }
        for name in options.contenders:
            bench.attempt(name, partial(run, name, made[name]))
    return levels


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Prints the table, writes and gives the JSON."""
    options = parse(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype: torch.dtype = getattr(torch, options.dtype)
    flops = count_flops(options.side, small=options.small)
    peak = peak_flops_per_s(device, dtype, 512 if options.small else 8192)
    bench = Bench(options=options, device=device, flops=flops, peak_flops_per_s=peak)
    print(f"{_machine(device)}: {peak / 1e12:.1f} TFLOP/s in {options.dtype}")
    print(f"{'part':10} {'':8} {'':36} {'measured':>9} {'floor':>9} {'ratio':>7}")
    levels = measure(bench, dtype) if set(options.parts) != {"memory"} else {}
    memory: dict[str, float] = {}

    def fill(form: str) -> None:
        memory[form] = peak_gb(FORMS[form], dtype, device, options.side, small=options.small)
        print(f"memory     {form:45} {memory[form]:9.2f} GiB", flush=True)

    for form in FORMS if "memory" in options.parts else ():
        bench.attempt(f"memory, {form}", partial(fill, form))
    for what in bench.left_out:
        print(f"left out, for the time was over: {what}")
    document = {
        "machine": _machine(device),
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
        "options": {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()},
        "peak_tflops": peak / 1e12,
        "tflop": {name: value / 1e12 for name, value in vars(flops).items()},
        "levels_from_diffusers": levels,
        "rows": bench.rows,
        "peak_gib": memory,
        "left_out": bench.left_out,
    }
    if options.out:
        options.out.write_text(json.dumps(document, indent=2) + "\n")
    return document


def _machine(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, CPU"


if __name__ == "__main__":
    main()
