"""AUTOMATIC1111's and ComfyUI's names of samplers and schedules, and which of ours are the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sdxl.errors import invalid_field, shorten
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.schedules import SCHEDULES, ScheduleName

AUTOMATIC = "Automatic"
EULER = "Euler"  # what AUTOMATIC1111's API takes if no sampler is named
_KARRAS_RHO = 7.0


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Our sampler and our schedule."""

    sampler: SamplerName | None = None
    """None, and no schedule either: the checkpoint's own."""
    schedule: ScheduleName | None = None
    without_effect: Mapping[str, str] = field(default_factory=dict)
    """The client's fields that were given and have no effect, each with the reason."""

    @property
    def as_fields(self) -> dict[str, str | None]:
        """With the names that they have in our requests."""
        return {"scheduler": self.sampler, "schedule": self.schedule}


def _sampler_names() -> Iterator[tuple[str, SamplerName]]:
    """In lower case: ComfyUI's and our own, and over them AUTOMATIC1111's."""
    for name, sampler in SAMPLERS.items():
        yield from ((other, name) for other in (name, sampler.comfyui) if other)
    for name, sampler in SAMPLERS.items():
        yield from ((other.lower(), name) for other in (*sampler.aliases, sampler.label))


def _schedule_names() -> Iterator[tuple[str, ScheduleName]]:
    """The same; what a sampler of before AUTOMATIC1111 1.9 ends in is one, too, such as `ka` in `k_dpm_2_ka`."""
    yield "ka", "karras"
    for name, schedule in SCHEDULES.items():
        found = (name, schedule.comfyui, schedule.name, schedule.label, *schedule.aliases)
        yield from ((other.lower(), name) for other in found)


_SAMPLERS, _SCHEDULES = dict(_sampler_names()), dict(_schedule_names())
_AUTOMATIC = {"", AUTOMATIC.lower()}


def our_sampler(sampler: str | None, schedule: str | None, *, sampler_field: str = "sampler_name") -> Sampling:
    """What a client's `sampler_name` (or another field of its) and `scheduler` mean here, in any case of letters.

    As in AUTOMATIC1111, a sampler's name may end in a schedule, which then counts; and a schedule that is unknown, or
    that the sampler cannot have, is Automatic. Raises RelayError (400) for a sampler that there is not.
    """
    wanted = (schedule or "").strip().lower()
    if not sampler and wanted in _AUTOMATIC:
        return Sampling()
    name, suffix = _parts((sampler or EULER).strip().lower())
    if name is None:
        raise invalid_field(sampler_field, sampler, ", ".join(each.label for each in SAMPLERS.values()))
    there_are, automatic = SAMPLERS[name].schedules, SAMPLERS[name].automatic
    asked = suffix if suffix is not None else _SCHEDULES.get(wanted)
    if asked in there_are:
        return Sampling(sampler=name, schedule=asked)
    if asked is None and wanted in _AUTOMATIC:
        return Sampling(sampler=name, schedule=automatic)
    label = SAMPLERS[name].label
    field_, got = ("scheduler", schedule) if suffix is None else (sampler_field, sampler)
    allowed = ", ".join((AUTOMATIC, *(SCHEDULES[each].label for each in there_are)))
    taken = f"{AUTOMATIC}, which is {SCHEDULES[automatic].label}, counts instead of {shorten(got)}"
    reason = f"{taken}; with {label} there are {allowed}"
    return Sampling(sampler=name, schedule=automatic, without_effect={field_: reason})


def _parts(name: str) -> tuple[SamplerName | None, ScheduleName | None]:
    """The sampler, and the schedule that its name ends in: "dpm++ 2m sgm uniform", "k_dpm_2_ka"."""
    if name in _SAMPLERS:
        return _SAMPLERS[name], None
    for ending, schedule in _SCHEDULES.items():
        for separator in " _":
            short = name.removesuffix(separator + ending)
            if short != name and short in _SAMPLERS:
                return _SAMPLERS[short], schedule
    return None, None


def sampler_items() -> list[dict[str, Any]]:
    """As GET /sdapi/v1/samplers lists them; the option `scheduler` is what Automatic means."""
    return [
        {
            "name": sampler.label,
            "aliases": list(sampler.aliases),
            "options": {} if sampler.automatic == "default" else {"scheduler": SCHEDULES[sampler.automatic].name},
        }
        for sampler in SAMPLERS.values()
    ]


def schedule_items() -> list[dict[str, Any]]:
    """As GET /sdapi/v1/schedulers lists them."""
    labels = {AUTOMATIC.lower(): AUTOMATIC, **{each.name: each.label for each in SCHEDULES.values()}}
    aliases = {each.name: list(each.aliases) or None for each in SCHEDULES.values()}
    return [
        {
            "name": name,
            "label": label,
            "aliases": aliases.get(name),
            "default_rho": _KARRAS_RHO if name == "karras" else -1.0,
            "need_inner_model": False,
        }
        for name, label in labels.items()
    ]
