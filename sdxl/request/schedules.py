"""The schedules that a request may name: how a sampler's steps are spread over the noise levels, by diffusers' options.

To add one: its name in `ScheduleName`, a case in `_schedule`, and the samplers that can have it in samplers.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

ScheduleName = Literal["default", "karras", "exponential", "sgm_uniform", "beta", "normal", "align_your_steps"]
# Of samplers that go 1000 // steps timesteps on, wherever their next one is: with `normal`, it is further on.
EVEN: tuple[ScheduleName, ...] = ("default", "sgm_uniform")
SPACED: tuple[ScheduleName, ...] = ("default", "sgm_uniform", "normal")
OVER_SIGMAS: tuple[ScheduleName, ...] = ("default", "karras", "exponential", "sgm_uniform", "beta", "normal")
# Of samplers of order 3 and 4, and of those that draw noise in two orders: over so uneven steps, they go astray.
WITHOUT_BETA: tuple[ScheduleName, ...] = ("default", "karras", "exponential", "sgm_uniform", "normal")
ALL: tuple[ScheduleName, ...] = get_args(ScheduleName)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How diffusers spreads a sampler's steps, and what others call that."""

    options: Mapping[str, object] = field(default_factory=dict)
    """Over the checkpoint's own scheduler configuration."""
    label: str
    """AUTOMATIC1111's name."""
    name: str
    """AUTOMATIC1111's other name, in lower case."""
    aliases: tuple[str, ...] = ()
    """AUTOMATIC1111's names beside these two."""
    comfyui: str
    """ComfyUI's `scheduler`."""


def _schedule(name: ScheduleName) -> Schedule:
    match name:
        case "default":  # SDXL's own, which has the same timesteps as ComfyUI's ddim_uniform
            return Schedule(label="Uniform", name="uniform", aliases=("DDIM", "ddim"), comfyui="ddim_uniform")
        case "karras":
            return Schedule(options=_over_sigmas("karras"), label="Karras", name="karras", comfyui="karras")
        case "exponential":
            options = _over_sigmas("exponential")
            return Schedule(options=options, label="Exponential", name="exponential", comfyui="exponential")
        case "sgm_uniform":
            return Schedule(
                options={**_over_sigmas(None), "timestep_spacing": "trailing"},
                label="SGM Uniform",
                name="sgm_uniform",
                aliases=("SGMUniform",),
                comfyui="sgm_uniform",
            )
        case "beta":
            return Schedule(options=_over_sigmas("beta"), label="Beta", name="beta", comfyui="beta")
        case "normal":
            options = {**_over_sigmas(None), "timestep_spacing": "linspace"}
            return Schedule(options=options, label="Normal", name="normal", comfyui="normal")
        case "align_your_steps":
            label = "Align Your Steps"
            return Schedule(options=_over_sigmas(None), label=label, name=name, comfyui=name)


def _over_sigmas(kind: str | None) -> dict[str, object]:
    """The checkpoint's own configuration may have set another one of them, and diffusers takes but one."""
    return {f"use_{each}_sigmas": each == kind for each in ("karras", "exponential", "beta")}


SCHEDULES: Mapping[ScheduleName, Schedule] = {name: _schedule(name) for name in ALL}
