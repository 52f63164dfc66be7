"""What work takes in memory is seen, and a picture that does not fit is refused before it is begun."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from runners import memory
from runners.memory import free_bytes, peak_bytes
from sdxl.errors import RelayError
from tests.in_process import Studio, studio
from tests.loading import default_checkpoint

MB = 10**6


@pytest.mark.parametrize("megabytes", [50, 400])
def test_the_peak_of_work_is_seen_though_it_gives_all_back(megabytes: int) -> None:
    peak = peak_bytes(lambda: float(np.ones(megabytes * MB, np.uint8)[-1]), "cpu")
    assert peak is not None
    assert megabytes - 5 <= peak / MB <= megabytes + 20  # the process may give back something else meanwhile


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(memory, "CGROUPS", ((tmp_path / "not there", used), (limit, used)))
    used.write_text(f"{30 * MB}\n")
    limit.write_text("max\n")
    assert free_bytes("cpu") > 100 * MB
    limit.write_text(f"{100 * MB}\n")
    assert free_bytes("cpu") == 70 * MB


@pytest.fixture(scope="module")
def small() -> Iterator[Studio]:
    """On a machine with 200 MB of free memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=200 * MB, total=200 * MB))
        with studio() as opened:
            yield opened


def test_what_does_not_fit_is_refused(small: Studio) -> None:
    allowed = small.base.models.largest_px
    assert 64 * 64 < allowed < 512 * 512
    with pytest.raises(
        RelayError, match=f"^width x height: got 1024 x 512; allowed: at most {allowed} pixels"
    ) as raised:
        small.generate(prompt="a red cube", width=1024, height=512)
    assert (raised.value.status, raised.value.code, raised.value.field) == (413, "no_memory", "width")
    picture = io.BytesIO()
    Image.new("RGB", (1024, 512)).save(picture, "PNG")
    for work in (small.refine, small.edit):
        with pytest.raises(RelayError, match=r"by the memory of the (base|refiner) runner"):
            work(picture.getvalue(), prompt="a red cube")
    assert small.generate(prompt="a red cube", width=64, height=64, num_inference_steps=5).shape == (64, 64, 3)


def test_an_idle_stage_encodes_no_prompt(small: Studio) -> None:
    """It measures its UNet and gives memory back; the metric counts prompts of requests alone."""
    encoded: list[bool] = []
    default_checkpoint(small.base).prompts.tell = encoded.append
    small.base._rest()
    assert not encoded
