"""Which backend computes the models, and whether it can."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from pydantic import ValidationInfo

BackendName = Literal["torch", "openvino", "onnxruntime", "auto"]
FASTEST: BackendName = "onnxruntime"  # docs/explanation/backends.md has the figures
CPU_ONLY = "it is for SDXL_DEVICE=cpu and SDXL_DTYPE=float32"


def usable(name: BackendName, settings: ValidationInfo) -> BackendName:
    """Raises ValueError if packages are missing, or if the settings before want what only torch can."""
    if name in ("torch", "auto"):
        return name
    if missing := missing_packages(name):
        packages = " and ".join(missing)
        raise ValueError(f"{packages} not installed; pip install -r requirements-{name}.txt")
    device, dtype = (settings.data.get(field, "auto") for field in ("device", "dtype"))
    if device not in ("auto", "cpu") or dtype not in ("auto", "float32"):
        raise ValueError(f"{CPU_ONLY}, not for {device} and {dtype}")
    if settings.data.get("loras") or settings.data.get("refiner_loras"):
        raise ValueError("not with SDXL_LORAS, for which the weights must be in torch")
    return name


def resolved(name: BackendName, *, is_ours: bool) -> tuple[BackendName, str]:
    """Which one, and why: `auto` is the fastest on the CPU where it is installed, else torch.

    `is_ours`: in float32 on the CPU, with nothing that needs torch.
    """
    if name != "auto":
        return name, f"SDXL_BACKEND={name}"
    if not is_ours:
        return "torch", "nothing else can do what the settings ask for"
    if missing_packages(FASTEST):
        return "torch", f"{FASTEST}, which is faster, is not installed"
    return FASTEST, "the fastest on a CPU"


def missing_packages(name: BackendName) -> list[str]:
    """What is not installed of all that a backend needs."""
    return [package for package in (name, "onnx") if find_spec(package) is None]
