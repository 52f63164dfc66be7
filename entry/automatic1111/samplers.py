"""AUTOMATIC1111's names of samplers and schedules, and which of our samplers is the same."""

from __future__ import annotations

from typing import Any

from sdxl.errors import invalid_field
from sdxl.request.samplers import KARRAS, SAMPLERS, UNIFORM, SamplerName

AUTOMATIC = "Automatic"


def _by_label() -> dict[str, dict[str, SamplerName]]:
    """Our samplers by AUTOMATIC1111's label, then by its schedule."""
    table: dict[str, dict[str, SamplerName]] = {}
    for name, sampler in SAMPLERS.items():
        schedules = table.setdefault(sampler.label, {})
        if sampler.is_automatic:
            schedules[AUTOMATIC] = name
        schedules[sampler.schedule] = name
    return table


BY_LABEL = _by_label()
_ALIASES = {sampler.label: list(sampler.aliases) for sampler in SAMPLERS.values()}
_LABELS = {name.lower(): label for label, aliases in _ALIASES.items() for name in (label, *aliases)}
_SCHEDULES = {schedule.lower(): schedule for schedule in (AUTOMATIC, UNIFORM, KARRAS)}


def our_sampler(sampler: str | None, schedule: str | None) -> SamplerName | None:
    """Ours; None, the checkpoint's own, for none. Raises RelayError (400) that names those that there are."""
    name, suffix = (sampler or "Euler").lower().strip(), ""
    if name.endswith(" karras"):  # as they were called before AUTOMATIC1111 1.9
        name, suffix = name.removesuffix(" karras"), KARRAS
    label = _LABELS.get(name)
    if label is None:
        raise invalid_field("sampler_name", sampler, ", ".join(BY_LABEL))
    there_are = BY_LABEL[label]
    wanted = _SCHEDULES.get((schedule or AUTOMATIC).lower(), "")
    wanted = suffix if suffix and wanted == AUTOMATIC else wanted
    if wanted not in there_are:
        raise invalid_field("scheduler", schedule or suffix, f"{', '.join(there_are)} with the sampler {label}")
    return there_are[wanted] if sampler else None


def sampler_items() -> list[dict[str, Any]]:
    """As GET /sdapi/v1/samplers lists them."""
    return [{"name": label, "aliases": _ALIASES[label], "options": {}} for label in BY_LABEL]


def schedule_items() -> list[dict[str, Any]]:
    """As GET /sdapi/v1/schedulers lists them."""
    return [
        {"name": label.lower(), "label": label, "aliases": None, "default_rho": rho, "need_inner_model": False}
        for label, rho in ((AUTOMATIC, -1.0), (UNIFORM, -1.0), (KARRAS, 7.0))
    ]
