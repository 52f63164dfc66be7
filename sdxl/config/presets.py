"""Presets for distilled models: how their samplers are configured, and what requests get and may ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

PresetName = Literal["turbo", "lightning", "lcm"]
FEW_STEPS: dict[str, Any] = {
    "refine": "none",
    "high_noise_frac": 0.7,  # with which a request for the ensemble has 3 steps of 4 in the base
    "inpaint_strength": 1.0,  # at 0.9999, the first of four steps would be left out
}
TRAILING = ("default", "sgm_uniform")  # the same, for the sampler's configuration below says "trailing"
_STEPS_IN_NAME = re.compile(r"_(\d)step")  # sdxl_lightning_4step_unet.safetensors


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What one kind of distilled model needs."""

    sampler: Mapping[str, object] = field(default_factory=dict)
    """Over the configuration of both stages' samplers, which must agree."""
    defaults: Mapping[str, Any]
    """The base's, over those of its relay.json, and with the fields that a relay.json has."""


PRESETS: dict[PresetName, Preset] = {
    "turbo": Preset(
        sampler={"timestep_spacing": "trailing"},
        defaults={
            **FEW_STEPS,
            **{"width": 512, "height": 512, "num_inference_steps": 1, "guidance_scale": 0.0},
            **{"scheduler": "euler_ancestral", "edit_steps": 4, "edit_strength": 0.5},
            "bounds": {
                "num_inference_steps": (1, 4),
                "guidance_scale": (0.0, 1.0),
                "scheduler": ("euler_ancestral", "euler"),
                "schedule": TRAILING,
                "reason": "SDXL_PRESET=turbo",
            },
        },
    ),
    "lightning": Preset(
        sampler={"timestep_spacing": "trailing"},
        defaults={
            **FEW_STEPS,
            **{"num_inference_steps": 4, "guidance_scale": 0.0, "scheduler": "euler"},
            "bounds": {
                "num_inference_steps": (1, 8),
                "guidance_scale": (0.0, 1.0),
                "scheduler": ("euler",),
                "schedule": TRAILING,
                "reason": "SDXL_PRESET=lightning",
            },
        },
    ),
    "lcm": Preset(  # whose sampler has a schedule of its own, without spacing
        defaults={
            **FEW_STEPS,
            **{"num_inference_steps": 4, "guidance_scale": 1.0, "scheduler": "lcm"},
            "bounds": {
                "num_inference_steps": (2, 8),
                "guidance_scale": (0.0, 2.0),
                "scheduler": ("lcm",),
                "reason": "SDXL_PRESET=lcm",
            },
        },
    ),
}


def defaults_of(name: PresetName, distilled: str | None) -> dict[str, Any]:
    """The base's defaults; `distilled` is the reference of its weights, whose name may say for how many steps."""
    defaults = dict(PRESETS[name].defaults)
    told = _STEPS_IN_NAME.search((distilled or "").rsplit("/", 1)[-1])
    return {**defaults, "num_inference_steps": int(told[1])} if told else defaults
