"""Which backend computes the models, and whether it can."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from pydantic import ValidationInfo

BackendName = Literal["torch", "openvino", "onnxruntime"]
CPU_ONLY = "it is for SDXL_DEVICE=cpu and SDXL_DTYPE=float32"


def usable(name: BackendName, settings: ValidationInfo) -> BackendName:
    """Raises ValueError if packages are missing, or if the settings before say another device or dtype."""
    if name == "torch":
        return name
    if missing := [package for package in (name, "onnx") if find_spec(package) is None]:
        packages = " and ".join(missing)
        raise ValueError(f"{packages} not installed; pip install -r requirements-{name}.txt")
    device, dtype = (settings.data.get(field, "auto") for field in ("device", "dtype"))
    if device not in ("auto", "cpu") or dtype not in ("auto", "float32"):
        raise ValueError(f"{CPU_ONLY}, not for {device} and {dtype}")
    return name
