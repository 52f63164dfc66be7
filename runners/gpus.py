"""Which GPU a stage's process sees, where a host has several."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import get_args

from bentoml._internal.resource import NvidiaGpuResource

from sdxl.config.settings import StageName

VISIBLE = "CUDA_VISIBLE_DEVICES"  # of CUDA: which GPUs a process sees, by their numbers or names
# Of BentoML, whose allocation goes by `resources`, as if no others used the host: it overrides CUDA_VISIBLE_DEVICES,
# and where there is one GPU, a second service would see none.
NO_ALLOCATION = "BENTOML_DISABLE_GPU_ALLOCATION"


def take_over_allocation(environment: MutableMapping[str, str] = os.environ) -> None:
    """To be called in the process that starts services, before it does."""
    environment[NO_ALLOCATION] = "1"


def see_own_gpu(stage: StageName, device: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Of several GPUs, the base sees the first and the refiner the second; to be called before CUDA is used.

    With one, both share it. A `device` with a number is left to whoever has set it.
    """
    given = environment.get(VISIBLE)
    visible = list(map(str, NvidiaGpuResource.from_system())) if given is None else given.split(",")
    if len(visible) > 1 and device in ("auto", "cuda"):
        environment[VISIBLE] = visible[get_args(StageName).index(stage)]
