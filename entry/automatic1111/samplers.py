"""AUTOMATIC1111's names of samplers and schedules, and which of our samplers is the same."""

from __future__ import annotations

from typing import Any

from sdxl.errors import invalid_field
from sdxl.request.fields import SamplerName

AUTOMATIC, UNIFORM, KARRAS = "Automatic", "Uniform", "Karras"
# By sampler, then by schedule. Automatic is what AUTOMATIC1111 itself takes with that sampler, if we have it.
SAMPLERS: dict[str, dict[str, SamplerName]] = {
    "Euler": {AUTOMATIC: "euler", UNIFORM: "euler"},
    "Euler a": {AUTOMATIC: "euler_ancestral", UNIFORM: "euler_ancestral"},
    "Heun": {AUTOMATIC: "heun", UNIFORM: "heun"},
    "DPM++ 2M": {AUTOMATIC: "dpmpp_2m_karras", KARRAS: "dpmpp_2m_karras", UNIFORM: "dpmpp_2m"},
    "DPM++ 2M SDE": {AUTOMATIC: "dpmpp_2m_sde", UNIFORM: "dpmpp_2m_sde"},
    "DDIM": {AUTOMATIC: "ddim", UNIFORM: "ddim"},
    "PLMS": {AUTOMATIC: "pndm", UNIFORM: "pndm"},
    "UniPC": {AUTOMATIC: "unipc", UNIFORM: "unipc"},
    "DEIS": {AUTOMATIC: "deis", UNIFORM: "deis"},
    "LCM": {AUTOMATIC: "lcm", UNIFORM: "lcm"},
}
ALIASES = {
    "Euler": ["k_euler"],
    "Euler a": ["k_euler_a", "k_euler_ancestral"],
    "Heun": ["k_heun"],
    "DPM++ 2M": ["k_dpmpp_2m"],
    "DPM++ 2M SDE": ["k_dpmpp_2m_sde"],
    "LCM": ["k_lcm"],
}
_LABELS = {name.lower(): label for label in SAMPLERS for name in (label, *ALIASES.get(label, ()))}
_SCHEDULES = {schedule.lower(): schedule for schedule in (AUTOMATIC, UNIFORM, KARRAS)}


def our_sampler(sampler: str | None, schedule: str | None) -> SamplerName | None:
    """Ours; None, the checkpoint's own, for none. Raises RelayError (400) that names those that there are."""
    name, suffix = (sampler or "Euler").lower().strip(), ""
    if name.endswith(" karras"):  # as they were called before AUTOMATIC1111 1.9
        name, suffix = name.removesuffix(" karras"), KARRAS
    label = _LABELS.get(name)
    if label is None:
        raise invalid_field("sampler_name", sampler, ", ".join(SAMPLERS))
    there_are = SAMPLERS[label]
    wanted = _SCHEDULES.get((schedule or AUTOMATIC).lower(), "")
    wanted = suffix if suffix and wanted == AUTOMATIC else wanted
    if wanted not in there_are:
        raise invalid_field("scheduler", schedule or suffix, f"{', '.join(there_are)} with the sampler {label}")
    return there_are[wanted] if sampler else None


def sampler_items() -> list[dict[str, Any]]:
    """As GET /sdapi/v1/samplers lists them."""
    return [{"name": label, "aliases": ALIASES.get(label, []), "options": {}} for label in SAMPLERS]


def schedule_items() -> list[dict[str, Any]]:
    """As GET /sdapi/v1/schedulers lists them."""
    return [
        {"name": label.lower(), "label": label, "aliases": None, "default_rho": rho, "need_inner_model": False}
        for label, rho in ((AUTOMATIC, -1.0), (UNIFORM, -1.0), (KARRAS, 7.0))
    ]
