"""How long a model of SDXL's full size takes to load: from the page cache, and from the host's memory.

Random weights in bfloat16, the base alone (7 GB on disk, and as much in memory). Floors are bytes over bandwidth: that
of reading a file which is in the page cache, and that of a copy in memory, both measured here. `--small` is for a try.
Prints the figures, and writes `model_load.json` to `benchmarks/results/`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.full_size import write_stage
from benchmarks.load import machine
from sdxl.catalog.watch import Watched
from sdxl.config.settings import MINI, Settings
from sdxl.models.checkpoint import Checkpoint, load
from sdxl.models.facts import facts_of
from sdxl.models.host_copy import HostCopy
from sdxl.models.shared import parts_of

RESULTS = Path(__file__).parent / "results"
REPEATS = 3
CHUNK = 16 * 2**20


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = MINI / "base"
        if not options.small:
            write_stage(MINI, Path(temporary), "base", torch.bfloat16)
            folder = Path(temporary) / "base"
        report = {"machine": machine(), **figures(folder)}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "model_load.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


def figures(folder: Path) -> dict[str, Any]:
    """Seconds, and gigabytes per second."""
    settings = Settings.model_validate({"base": str(folder), "device": "cpu", "dtype": "bfloat16", "backend": "torch"})
    model = next(each for each in Watched(settings).catalog.models.values() if each.kind == "base")
    files = list(folder.rglob("*.safetensors"))
    read_bytes = sum(file.stat().st_size for file in files)
    facts = facts_of(model, settings, torch.bfloat16, Path)
    first: Checkpoint = load("base", model, settings, Path, facts=facts)
    own_bytes = sum(parts_of(first.pipeline).values())
    digest = first.digest
    copies = [HostCopy(part, pinned=False) for part in (first.pipeline.unet, first.pipeline.vae)]
    copied_bytes = sum(copy.size_bytes for copy in copies)
    in_copy_s = seconds(partial(bring, copies))
    copies.clear()
    del first
    loaded_s = seconds(lambda: load("base", model, settings, Path, facts=facts, known_digest=digest))
    with_digest_s = seconds(lambda: load("base", model, settings, Path, facts=facts), repeats=1)
    reading_s = seconds(lambda: read(files))
    source, target = torch.ones(copied_bytes // 4), torch.zeros(copied_bytes // 4)  # in memory that is there already
    copying_s = seconds(lambda: target.copy_(source))
    return {
        "file_gb": read_bytes / 1e9,
        "model_gb": own_bytes / 1e9,
        "from_page_cache_s": loaded_s,
        "the_first_time_with_its_digest_s": with_digest_s,
        "floor_of_reading_s": reading_s,
        "from_memory_s": in_copy_s,
        "from_memory_gb": copied_bytes / 1e9,
        "floor_of_copying_s": copying_s,
    }


def bring(copies: Sequence[HostCopy]) -> None:
    """To the device, which is a copy in memory here."""
    for copy in copies:
        copy.bring("cpu")


def read(files: Sequence[Path]) -> None:
    """All of them, without keeping anything."""
    buffer = bytearray(CHUNK)
    for path in files:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median, after one that is not counted."""
    took = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        work()
        took.append(time.perf_counter() - begun)
    return median(took[1:])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where there are 7 GB for the files")
    parser.add_argument("--small", action="store_true", help="the mini instead")
    return parser.parse_args()


if __name__ == "__main__":
    main()
