"""The GPU benchmark, on the CPU with small models: all of it runs, and it finds out who makes another picture."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_contenders import Relay, Work
from benchmarks.gpu_memory import FORMS, peak_gb
from benchmarks.gpu_models import count_flops
from stepbatch.denoising import Conditioning

SMALL = [
    *("--small", "--side", "64", "--steps", "4", "--pictures", "2", "--rows", "1", "2", "--max-rows", "4"),
    *("--dtype", "float32", "--compile", "off", "--repeats", "1", "--contenders", "relay", "eager"),
]


def test_flops_are_those_that_the_design_counts_on() -> None:
    flops = count_flops(1024, small=False)
    assert [round(count / 1e12, 2) for count in (flops.base, flops.refiner, flops.vae)] == [6.76, 7.29, 10.47]
    assert round(flops.of_picture(32, 8) / 1e12) == 560


def test_it_runs_with_small_models(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    gpu.main([*SMALL, "--parts", "base", "ensemble", "ticks", "--out", str(out), "--tolerance", "0.1"])
    found = json.loads(out.read_text())
    lines = Counter((row["part"], row["contender"]) for row in found["rows"])
    for contender in ("relay", "eager"):
        assert [lines[part, contender] for part in ("base", "ensemble", "ticks")] == [1, 2, 4]
    assert all(row["value"] > 0 and row["floor"] > 0 for row in found["rows"])
    assert found["levels_from_diffusers"]["relay"] < 0.1
    assert found["left_out"] == []


def test_what_there_is_no_time_for_is_said() -> None:
    assert gpu.main([*SMALL, "--parts", "memory", "--budget-s", "0"])["left_out"] == [
        *(f"memory, {form}" for form in FORMS)
    ]


@pytest.mark.parametrize("form", ["model offload, int8", "sequential offload"])
def test_forms_that_save_memory_make_pictures(form: str) -> None:
    assert peak_gb(FORMS[form], torch.float32, "cpu", 64, small=True) == 0  # a CPU has no peak of its own


def test_another_picture_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    guided = Relay.conditioning

    def without_words(self: Relay, stage: str, work: Work) -> Conditioning:
        usual = guided(self, stage, work)
        blank = torch.zeros_like(usual.embeddings)
        return Conditioning(embeddings=blank, pooled=usual.pooled, time_ids=usual.time_ids)

    monkeypatch.setattr(Relay, "conditioning", without_words)
    with pytest.raises(AssertionError, match="levels from diffusers"):
        gpu.main([*SMALL, "--parts", "base", "--tolerance", "0.1"])
