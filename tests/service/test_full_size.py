"""SDXL in its full size through both runners, on the CPU: shapes, memory and times are the real ones."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from safetensors import safe_open

from benchmarks.full_size import PARAMETERS, write_full_size
from tests.conftest import MINI
from tests.service import server as servers
from tests.service.server import serving

MAX_BYTES = 16 * 2**30
# Where the CPU cannot multiply in bfloat16, torch does it number by number, a hundred times slower than in float32.
HAS_BFLOAT16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
DTYPE = torch.bfloat16 if HAS_BFLOAT16 else torch.float32


@pytest.mark.full
def test_a_picture_of_full_size_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_full_size(MINI, tmp_path, DTYPE)
    for stage, count in PARAMETERS.items():
        with safe_open(tmp_path / stage / "unet" / "diffusion_pytorch_model.safetensors", "pt") as file:
            assert sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys()) == count  # noqa: SIM118
    monkeypatch.setattr(servers, "START_TIMEOUT_S", 1_200)
    home = tmp_path / "bentoml"
    home.mkdir()
    begun = time.monotonic()
    with serving(
        home,
        SDXL_BASE=tmp_path / "base",
        SDXL_REFINER=tmp_path / "refiner",
        SDXL_DTYPE=str(DTYPE).removeprefix("torch."),
        SDXL_MAX_ROWS=1,
        SDXL_MAX_PIXELS=512 * 512,
        SDXL_RUNNER_SILENCE_S=600,
    ) as server:
        report = {"start_s": time.monotonic() - begun}
        begun = time.monotonic()
        answer = server.post(
            "/generate", json={"prompt": "a cube", "seed": 1, "width": 512, "height": 512, "num_inference_steps": 2,
                               "high_noise_frac": 0.5, "guidance_scale": 1.0}
        )  # fmt: skip
        report["picture_s"] = time.monotonic() - begun
        assert answer.status_code == 200, answer.text
        picture = servers.pixels(answer)
        assert picture.shape == (512, 512, 3)
        assert picture.std() > 1  # random weights draw noise, but never nothing
        workers = {name: process.memory_info().rss for name, process in server.workers().items()}
        report |= {f"{name}_gb": size / 2**30 for name, size in workers.items()}
        report["timing"] = answer.headers["server-timing"]  # type: ignore[assignment]
        peaks = {name: peak_bytes(process) for name, process in server.workers().items()}
        report |= {f"{name}_peak_gb": size / 2**30 for name, size in peaks.items()}
        print(json.dumps(report, indent=2))
        if HAS_BFLOAT16:  # weights in float32 alone take 26 GB, as files mapped into memory
            assert sum(peaks.values()) < MAX_BYTES


def peak_bytes(process: psutil.Process) -> int:
    """The most memory that a process has had (VmHWM)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
