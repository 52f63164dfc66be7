"""What the page must know of this server: the fields of its requests, and what counts for the model that is chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from sdxl.config.settings import Settings
from sdxl.handoff.offer import OfferedModel
from sdxl.request.bounds import Bounds
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest
from sdxl.request.samplers import SAMPLERS
from sdxl.request.schedules import SCHEDULES
from sdxl.request.settled import Defaults
from sdxl.version import VERSION

Models = Mapping[str, Sequence[OfferedModel]]
"""Those that each stage offers, its default first."""
ANYTHING: dict[str, Any] = {"prompt": "-", "seed": 0}  # what a request needs to be settled
REQUESTS: dict[str, type[BaseModel]] = {"generate": GenerationRequest, "edit": EditRequest, "refine": RefineRequest}
LABELS = {
    "scheduler": {name: each.label for name, each in SAMPLERS.items()},
    "schedule": {**{name: each.label for name, each in SCHEDULES.items()}, "default": "the model's own"},
}
SYNTAXES = {"plain": "as they stand", "a1111": "with weights, as AUTOMATIC1111 does"}


def about(models: Models, loras: Mapping[str, Sequence[str]], settings: Settings) -> dict[str, Any]:
    """As JSON; what `about_model` says of the default is part of it. `loras` are the names that each stage offers.

    `fields` has the JSON schema of each field of /generate, /edit and /refine, with the names to choose from;
    `schedules` has those that each sampler can have.
    """
    makers, refiners = _names(models.get("base", ())), _names(models.get("refiner", ()))
    fields = {kind: _schemas(request) for kind, request in REQUESTS.items()}
    for kind, own in fields.items():
        stages = ("refiner",) if kind == "refine" else ("base", "refiner")
        offered = {name for stage in stages for name in loras.get(stage, ())}
        names = refiners if kind == "refine" else makers
        own["model"] |= {"enum": names, "default": next(iter(names), None)}
        own["loras"]["enum"] = sorted(offered, key=str.casefold)
        if kind != "refine":
            own["refiner_model"] |= {"enum": ["", *refiners], "default": ""}
            own["refine"]["enum"] = own["refine"]["enum"] if settings.has_refiner else ["none"]
    improving = _titles(models.get("refiner", ()))
    return {
        "version": VERSION,
        "asks_for_keys": bool(settings.api_keys),
        "has_refiner": settings.has_refiner,
        "labels": {
            **LABELS,
            "prompt_syntax": SYNTAXES,
            "model": {**improving, **_titles(models.get("base", ()))},
            "refiner_model": {**improving, "": "the model's own"},
        },
        "fields": fields,
        "schedules": {name: each.schedules for name, each in SAMPLERS.items()},
        **about_model(models, None, settings),
    }


def about_model(models: Models, name: str | None, settings: Settings) -> dict[str, Any]:
    """What is special to the model of this name, and to its refiner; without it, to the stages' defaults. As JSON.

    `bounds` has what goes over a field's schema. `defaults` has what counts where a field is left out: for /generate,
    /edit and /refine, and for an edit with a mask (`inpaint`). A model that is not there yet has those of a checkpoint
    that has none of its own.
    """
    base, improving = _chosen(models.get("base", ()), name), _chosen(models.get("refiner", ()), name)
    own = base.card.defaults if base else Defaults()
    if not settings.has_refiner or (base and base.refiner == "none"):
        own = own.model_copy(update={"refine": "none"})
    of_refine = improving.card.defaults if improving else own
    edit = EditRequest(**ANYTHING)
    of_base = _bounds(own.bounds)
    return {
        "models": _called(models, name),
        "about": own.about.model_dump(),
        "bounds": {"generate": of_base, "edit": of_base, "refine": _bounds(of_refine.bounds)},
        "defaults": {
            "generate": _values(GenerationRequest(**ANYTHING).with_defaults(own)),
            "edit": _values(edit.with_defaults(own, has_mask=False)),
            "inpaint": _values(edit.with_defaults(own, has_mask=True)),
            "refine": _values(RefineRequest(**ANYTHING).with_defaults(of_refine)),
        },
    }


def _called(models: Models, name: str | None) -> dict[str, str]:
    """What the models are called: which makes pictures, which refines them, and which is that of /refine."""
    makers, refiners = models.get("base", ()), models.get("refiner", ())
    base, of_refine = _chosen(makers, name), _chosen(refiners, name)
    refiner = None if base and base.refiner == "none" else _chosen(refiners, base.refiner if base else None)
    called = {"base": (base, makers), "refiner": (refiner, refiners), "refine": (of_refine, refiners)}
    return {
        part: _titles([other for other in offered if other.kind == model.kind])[model.name]
        for part, (model, offered) in called.items()
        if model
    }


def _chosen(offered: Sequence[OfferedModel], name: str | None) -> OfferedModel | None:
    return next((model for model in offered if model.name == name), next(iter(offered), None))


def _names(offered: Iterable[OfferedModel]) -> list[str]:
    return [model.name for model in offered]


def _titles(offered: Sequence[OfferedModel]) -> dict[str, str]:
    """What to call models; of several with the same title, only the names tell them apart."""
    times = Counter(model.card.name for model in offered)
    return {model.name: model.card.name if times[model.card.name] == 1 else model.name for model in offered}


def _schemas(request: type[BaseModel]) -> dict[str, Any]:
    """Each field's, without the null of those that may be left out."""
    schemas = request.model_json_schema()["properties"]
    return {name: {**schema.pop("anyOf", [{}])[0], **schema} for name, schema in schemas.items()}


def _bounds(bounds: Bounds) -> dict[str, Any]:
    """A checkpoint's own."""
    spans = {name: getattr(bounds, name) for name in ("num_inference_steps", "guidance_scale")}
    found: dict[str, Any] = {name: {"minimum": span[0], "maximum": span[1]} for name, span in spans.items() if span}
    names = {name: getattr(bounds, name) for name in ("scheduler", "schedule")}
    return found | {name: {"enum": list(allowed)} for name, allowed in names.items() if allowed}


def _values(settled: BaseModel) -> dict[str, Any]:
    return settled.model_dump(exclude=set(ANYTHING), exclude_none=True, mode="json")
