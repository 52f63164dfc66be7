"""The samplers that a request may name, the schedules that each can have, and what others call them.

To add one: its name in `SamplerName` and a case in `_sampler`. mypy refuses the one without the other. All else follows
from this table: the API, the page, both contracts, the pictures' records, the docs and the parity tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from sdxl.request.schedules import ALL, EVEN, OVER_SIGMAS, SPACED, WITHOUT_BETA, ScheduleName

SamplerName = Literal[
    "euler", "euler_ancestral", "heun", "ddim", "ddpm", "pndm", "lms", "dpm2", "dpm2_a", "dpmpp_2m", "dpmpp_2m_sde",
    "dpmpp_3m_sde", "dpmpp_sde", "unipc", "deis", "lcm",
]  # fmt: skip
# Once, a sampler and a schedule had one name. Old records and clients have it.
OLD_NAMES: Mapping[str, tuple[SamplerName, ScheduleName]] = {"dpmpp_2m_karras": ("dpmpp_2m", "karras")}


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """One of diffusers' schedulers with its options, the schedules that it can have, and its names elsewhere."""

    diffusers_class: str
    options: Mapping[str, object] = field(default_factory=dict)
    """Over the checkpoint's own scheduler configuration."""
    schedules: tuple[ScheduleName, ...]
    """Those that diffusers has for it, and that give right pictures; `default` is always one."""
    label: str
    """AUTOMATIC1111's name, or what other programs call it if AUTOMATIC1111 does not have it."""
    aliases: tuple[str, ...] = ()
    """AUTOMATIC1111's other names."""
    automatic: ScheduleName = "default"
    """What AUTOMATIC1111 takes with that label if no schedule is asked for (modules/sd_samplers_kdiffusion.py)."""
    comfyui: str | None = None
    """ComfyUI's `sampler_name`; None where it has no such sampler."""


def _sampler(name: SamplerName) -> Sampler:
    match name:
        case "euler":
            return Sampler(
                diffusers_class="EulerDiscreteScheduler",
                schedules=ALL,
                label="Euler",
                aliases=("k_euler",),
                comfyui="euler",
            )
        case "euler_ancestral":
            return Sampler(
                diffusers_class="EulerAncestralDiscreteScheduler",
                schedules=SPACED,
                label="Euler a",
                aliases=("k_euler_a", "k_euler_ancestral"),
                comfyui="euler_ancestral",
            )
        case "heun":
            return Sampler(
                diffusers_class="HeunDiscreteScheduler",
                schedules=ALL,
                label="Heun",
                aliases=("k_heun",),
                comfyui="heun",
            )
        case "ddim":
            return Sampler(diffusers_class="DDIMScheduler", schedules=EVEN, label="DDIM", comfyui="ddim")
        case "ddpm":
            return Sampler(
                diffusers_class="DDPMScheduler",
                schedules=(*SPACED, "align_your_steps"),
                label="DDPM",
                comfyui="ddpm",
            )
        case "pndm":
            return Sampler(diffusers_class="PNDMScheduler", schedules=EVEN, label="PLMS")
        case "lms":
            return Sampler(
                diffusers_class="LMSDiscreteScheduler",
                schedules=WITHOUT_BETA,
                label="LMS",
                aliases=("k_lms",),
                comfyui="lms",
            )
        case "dpm2":
            return Sampler(
                diffusers_class="KDPM2DiscreteScheduler",
                schedules=OVER_SIGMAS,
                label="DPM2",
                aliases=("k_dpm_2",),
                automatic="karras",
                comfyui="dpm_2",
            )
        case "dpm2_a":
            return Sampler(
                diffusers_class="KDPM2AncestralDiscreteScheduler",
                schedules=OVER_SIGMAS,
                label="DPM2 a",
                aliases=("k_dpm_2_a",),
                automatic="karras",
                comfyui="dpm_2_ancestral",
            )
        case "dpmpp_2m":
            return Sampler(
                diffusers_class="DPMSolverMultistepScheduler",
                schedules=ALL,
                label="DPM++ 2M",
                aliases=("k_dpmpp_2m",),
                automatic="karras",
                comfyui="dpmpp_2m",
            )
        case "dpmpp_2m_sde":
            return Sampler(
                diffusers_class="DPMSolverMultistepScheduler",
                options={"algorithm_type": "sde-dpmsolver++"},
                schedules=(*WITHOUT_BETA, "align_your_steps"),
                label="DPM++ 2M SDE",
                aliases=("k_dpmpp_2m_sde",),
                automatic="exponential",
                comfyui="dpmpp_2m_sde",
            )
        case "dpmpp_3m_sde":
            return Sampler(
                diffusers_class="DPMSolverMultistepScheduler",
                options={"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
                schedules=(*WITHOUT_BETA, "align_your_steps"),
                label="DPM++ 3M SDE",
                aliases=("k_dpmpp_3m_sde",),
                automatic="exponential",
                comfyui="dpmpp_3m_sde",
            )
        case "dpmpp_sde":
            return Sampler(
                # As in diffusers' table of k-diffusion's samplers. DPMSolverSDEScheduler draws its noise on the
                # latents' device and in their dtype, from no generator: two stages could not share it.
                diffusers_class="DPMSolverSinglestepScheduler",
                options={"algorithm_type": "sde-dpmsolver++", "lower_order_final": True},
                schedules=("default", "karras", "exponential", "normal", "align_your_steps"),  # no spacings,
                label="DPM++ SDE",
                aliases=("k_dpmpp_sde",),
                automatic="karras",
                comfyui="dpmpp_sde",
            )
        case "unipc":
            return Sampler(
                diffusers_class="UniPCMultistepScheduler", schedules=OVER_SIGMAS, label="UniPC", comfyui="uni_pc"
            )
        case "deis":
            return Sampler(
                diffusers_class="DEISMultistepScheduler", schedules=OVER_SIGMAS, label="DEIS", comfyui="deis"
            )
        case "lcm":
            return Sampler(
                diffusers_class="LCMScheduler", schedules=("default",), label="LCM", aliases=("k_lcm",), comfyui="lcm"
            )


SAMPLERS: Mapping[SamplerName, Sampler] = {name: _sampler(name) for name in get_args(SamplerName)}


def with_present_names(values: object) -> object:
    """A request's fields, or a checkpoint's defaults, with the name of a pair as its two names."""
    old = values.get("scheduler") if isinstance(values, dict) else None
    if not isinstance(values, dict) or not isinstance(old, str) or old not in OLD_NAMES:
        return values
    sampler, schedule = OLD_NAMES[old]
    given = values.get("schedule")
    return {**values, "scheduler": sampler, "schedule": schedule if given is None else given}
