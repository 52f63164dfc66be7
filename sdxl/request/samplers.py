"""The samplers that a request may name, and what each is called in diffusers and in AUTOMATIC1111's world.

To add one: its name in `SamplerName` and a case in `_sampler`. mypy refuses the one without the other. All else follows
from this table: the API, the page, both contracts, the pictures' records, the docs and the parity tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

SamplerName = Literal[
    "euler", "euler_ancestral", "heun", "ddim", "pndm", "dpmpp_2m", "dpmpp_2m_karras", "dpmpp_2m_sde",
    "unipc", "deis", "lcm",
]  # fmt: skip
UNIFORM, KARRAS = "Uniform", "Karras"  # AUTOMATIC1111's names for how timesteps are spaced


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """One of diffusers' schedulers with its options."""

    diffusers_class: str
    options: Mapping[str, object] = field(default_factory=dict)
    """Over the checkpoint's own scheduler configuration."""
    label: str
    """AUTOMATIC1111's name, or what other programs call it if AUTOMATIC1111 does not have it."""
    aliases: tuple[str, ...] = ()
    """AUTOMATIC1111's other names."""
    schedule: str = UNIFORM
    is_automatic: bool = True
    """Whether AUTOMATIC1111 takes this schedule with that label if none is asked for."""


def _sampler(name: SamplerName) -> Sampler:
    match name:
        case "euler":
            return Sampler(diffusers_class="EulerDiscreteScheduler", label="Euler", aliases=("k_euler",))
        case "euler_ancestral":
            aliases = ("k_euler_a", "k_euler_ancestral")
            return Sampler(diffusers_class="EulerAncestralDiscreteScheduler", label="Euler a", aliases=aliases)
        case "heun":
            return Sampler(diffusers_class="HeunDiscreteScheduler", label="Heun", aliases=("k_heun",))
        case "ddim":
            return Sampler(diffusers_class="DDIMScheduler", label="DDIM")
        case "pndm":
            return Sampler(diffusers_class="PNDMScheduler", label="PLMS")
        case "dpmpp_2m":
            return Sampler(
                diffusers_class="DPMSolverMultistepScheduler",
                label="DPM++ 2M",
                aliases=("k_dpmpp_2m",),
                is_automatic=False,
            )
        case "dpmpp_2m_karras":
            return Sampler(
                diffusers_class="DPMSolverMultistepScheduler",
                options={"use_karras_sigmas": True},
                label="DPM++ 2M",
                aliases=("k_dpmpp_2m",),
                schedule=KARRAS,
            )
        case "dpmpp_2m_sde":
            return Sampler(
                diffusers_class="DPMSolverMultistepScheduler",
                options={"algorithm_type": "sde-dpmsolver++"},
                label="DPM++ 2M SDE",
                aliases=("k_dpmpp_2m_sde",),
            )
        case "unipc":
            return Sampler(diffusers_class="UniPCMultistepScheduler", label="UniPC")
        case "deis":
            return Sampler(diffusers_class="DEISMultistepScheduler", label="DEIS")
        case "lcm":
            return Sampler(diffusers_class="LCMScheduler", label="LCM", aliases=("k_lcm",))


SAMPLERS: Mapping[SamplerName, Sampler] = {name: _sampler(name) for name in get_args(SamplerName)}
