"""Which GPU each stage sees; that a process without any is left as it is, every other test shows."""

from __future__ import annotations

from typing import get_args

import pytest
from bentoml._internal.resource import NvidiaGpuResource

from runners.gpus import VISIBLE, see_own_gpu
from sdxl.config.settings import StageName


@pytest.mark.parametrize(
    ("installed", "given", "device", "seen"),
    [
        (0, None, "auto", {}),
        (1, None, "auto", {}),
        (2, None, "auto", {"base": "0", "refiner": "1"}),
        (4, None, "cuda", {"base": "0", "refiner": "1"}),
        (4, "3", "auto", {"base": "3", "refiner": "3"}),
        (4, "3,2", "auto", {"base": "3", "refiner": "2"}),
        (4, "GPU-a,GPU-b", "auto", {"base": "GPU-a", "refiner": "GPU-b"}),
        (2, "", "auto", {"base": "", "refiner": ""}),
        (2, None, "cuda:1", {}),
        (2, None, "cpu", {}),
    ],
)
def test_each_stage_has_its_own(
    monkeypatch: pytest.MonkeyPatch, installed: int, given: str | None, device: str, seen: dict[str, str]
) -> None:
    monkeypatch.setattr(NvidiaGpuResource, "from_system", lambda: list(range(installed)))
    for stage in get_args(StageName):
        environment = {} if given is None else {VISIBLE: given}
        see_own_gpu(stage, device, environment)
        assert environment.get(VISIBLE) == seen.get(stage)
