"""What torch's threads do when both runners are busy on one machine's cores: `python -m benchmarks.threads`.

For each setting of OpenMP, one process alone and then two at once call the mini base UNet for a while; the figure is
rows per second, of both together. Settings take turns, several rounds over, and the medians count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

SETTINGS: dict[str, dict[str, str]] = {
    "as torch comes": {},
    "1 thread": {"OMP_NUM_THREADS": "1"},
    "passive waiting": {"OMP_WAIT_POLICY": "passive"},
    "short spinning": {"GOMP_SPINCOUNT": "1000"},
    "middling spinning": {"GOMP_SPINCOUNT": "20000"},
}
ROUNDS = 3
SECONDS = 2.0
ROWS = (2, 8)
RESULT = Path(__file__).parent / "results" / "threads.json"


def work(rows: int) -> None:
    """The child: prints its rows per second, in the time that the parent has given."""
    import torch
    from diffusers import UNet2DConditionModel

    from sdxl.config.settings import MINI

    unet = UNet2DConditionModel.from_pretrained(MINI / "base" / "unet")
    config = unet.config
    pooled_width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    inputs = (torch.randn(rows, 4, config.sample_size, config.sample_size), torch.full((rows,), 500))
    told = torch.randn(rows, 77, config.cross_attention_dim)
    added = {"text_embeds": torch.randn(rows, pooled_width), "time_ids": torch.full((rows, 6), 128.0)}

    def tick() -> None:
        unet(*inputs, encoder_hidden_states=told, added_cond_kwargs=added)

    with torch.inference_mode():
        for _ in range(3):
            tick()
        print("ready", flush=True)
        sys.stdin.readline()
        ticks, begun = 0, time.perf_counter()
        while time.perf_counter() < begun + SECONDS:
            tick()
            ticks += 1
        print(ticks * rows / (time.perf_counter() - begun), flush=True)


def rows_per_second(setting: dict[str, str], rows: int, processes: int) -> float:
    """Of all processes together, which begin at the same time."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "benchmarks.threads", str(rows)],
            env={**kept, **setting},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(processes)
    ]
    total = 0.0
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        total += float(child.communicate()[0])
    return total


def main() -> None:
    cases = [(name, rows, processes) for rows in ROWS for processes in (1, 2) for name in SETTINGS]
    figures: dict[tuple[str, int, int], list[float]] = {case: [] for case in cases}
    for _ in range(ROUNDS):
        for name, rows, processes in cases:
            figures[name, rows, processes].append(rows_per_second(SETTINGS[name], rows, processes))
    columns = [(rows, processes) for rows in ROWS for processes in (1, 2)]
    print(f"rows per second on {os.cpu_count()} cores, median of {ROUNDS}")
    print("| setting | " + " | ".join(f"{rows} rows, {processes} busy" for rows, processes in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for name in SETTINGS:
        print(f"| {name} | " + " | ".join(f"{median(figures[name, *column]):.0f}" for column in columns) + " |")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({f"{name}, {r} rows, {p} busy": v for (name, r, p), v in figures.items()}, indent=1))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(int(sys.argv[1]))
    else:
        main()
