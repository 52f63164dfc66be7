"""The server with its models compiled, quantized or kept in the host's memory: the same pictures, or nearly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.in_process import Studio, studio
from tests.service import server as servers
from tests.service.reference import Reference
from tests.service.server import Server, serving

REQUEST: dict[str, Any] = {"prompt": "a red cube on top of a blue sphere, yellow background", "seed": 3}
FIELDS: dict[str, Any] = {"num_inference_steps": 12, "guidance_scale": 2.5}
WIDE = {"width": 192, "height": 128}


def levels(server: Server | Studio, reference: Reference, **fields: Any) -> int:
    """The largest difference to diffusers' picture."""
    wanted = {**REQUEST, **FIELDS, **fields}
    return int(np.abs(server.generate(**wanted).astype(int) - reference.generate(**wanted).astype(int)).max())


def test_ticks_of_known_shapes_are_filled_up(reference: Reference) -> None:
    """On a CPU there are no graphs, but shapes, row counts and the start are as on a GPU."""
    with studio(compile="graphs", max_rows=4, compile_sizes="128x128") as opened:
        assert levels(opened, reference) <= 2
        assert levels(opened, reference, guidance_scale=1.0, refine="none") <= 2
        assert levels(opened, reference, **WIDE) <= 2


def test_offloaded_models_with_8_bit_weights(reference: Reference) -> None:
    with studio(offload="model", quantize="int8", max_rows=4) as opened:
        wanted = {**REQUEST, **FIELDS}
        difference = np.abs(opened.generate(**wanted).astype(int) - reference.generate(**wanted).astype(int))
        assert 0 < difference.mean() < 3


@pytest.mark.full
def test_compiled_models(reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "START_TIMEOUT_S", 1_200)
    settings: dict[str, Any] = {"SDXL_COMPILE": "on", "SDXL_MAX_ROWS": 2, "SDXL_COMPILE_CACHE": tmp_path / "compiled"}
    starts = []
    for home in (tmp_path / "first", tmp_path / "second"):
        home.mkdir()
        begun = time.monotonic()
        with serving(home, **settings) as server:
            starts.append(time.monotonic() - begun)
            assert levels(server, reference) <= 2
            assert levels(server, reference, **WIDE) <= 2  # not compiled, and not compiled now
    print(f"starts: {starts[0]:.0f} s, then {starts[1]:.0f} s")
    assert starts[1] < starts[0] / 2
