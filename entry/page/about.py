"""What the page must know of this server: which model answers, and each field's bounds and default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from sdxl.config.settings import Settings
from sdxl.request.bounds import Bounds
from sdxl.request.requests import EditRequest, GenerationRequest, RefineRequest
from sdxl.request.samplers import SAMPLERS, UNIFORM
from sdxl.request.settled import Card, Defaults
from sdxl.version import VERSION

ANYTHING: dict[str, Any] = {"prompt": "-", "seed": 0}  # what a request needs to be settled
LABELS = {
    name: each.label if each.schedule == UNIFORM else f"{each.label} {each.schedule}" for name, each in SAMPLERS.items()
}


def about(
    cards: Mapping[str, Card],
    names: Mapping[str, Sequence[str]],
    loras: Mapping[str, Sequence[str]],
    settings: Settings,
) -> dict[str, Any]:
    """As JSON. Without a card, the defaults are those of a checkpoint that has none of its own.

    `names` are those of the models that each stage offers, its default first; `loras` those of its LoRAs.

    `fields` has the JSON schema of each field of /generate, /edit and /refine. `defaults` has what counts where a
    field is left out: for these three, and for an edit with a mask (`inpaint`).
    """
    base = cards["base"].defaults if "base" in cards else Defaults()
    refiner = cards["refiner"].defaults if "refiner" in cards else base
    edit = EditRequest(**ANYTHING)
    fields = {
        "generate": _fields(GenerationRequest, base.bounds),
        "edit": _fields(EditRequest, base.bounds),
        "refine": _fields(RefineRequest, refiner.bounds),
    }
    _offer_models(fields, names)
    _offer_loras(fields, loras)
    if not settings.has_refiner:
        base = base.model_copy(update={"refine": "none"})
        for kind in ("generate", "edit"):
            fields[kind]["refine"]["enum"] = ["none"]
    return {
        "version": VERSION,
        "asks_for_keys": bool(settings.api_keys),
        "models": {stage: card.name for stage, card in cards.items()},
        "about": base.about.model_dump(),
        "labels": {"scheduler": LABELS, "refiner_model": {"": "the model's own"}},
        "has_refiner": settings.has_refiner,
        "fields": fields,
        "defaults": {
            "generate": _values(GenerationRequest(**ANYTHING).with_defaults(base)),
            "edit": _values(edit.with_defaults(base, has_mask=False)),
            "inpaint": _values(edit.with_defaults(base, has_mask=True)),
            "refine": _values(RefineRequest(**ANYTHING).with_defaults(refiner)),
        },
    }


def _offer_models(fields: dict[str, dict[str, Any]], names: Mapping[str, Sequence[str]]) -> None:
    """Leaves out what there is no choice of."""
    for kind, own in fields.items():
        makers, refiners = names.get("refiner" if kind == "refine" else "base", ()), names.get("refiner", ())
        model, refiner = own.pop("model"), own.pop("refiner_model", {})
        if len(makers) > 1:
            own["model"] = {**model, "enum": list(makers), "default": makers[0]}
        if kind != "refine" and len(refiners) > 1:
            own["refiner_model"] = {**refiner, "enum": ["", *refiners], "default": ""}


def _offer_loras(fields: dict[str, dict[str, Any]], loras: Mapping[str, Sequence[str]]) -> None:
    """Each stage applies those that it has; a field without any is left out."""
    for kind, own in fields.items():
        stages = ("refiner",) if kind == "refine" else ("base", "refiner")
        schema, names = own.pop("loras"), {name for stage in stages for name in loras.get(stage, ())}
        if names:
            own["loras"] = {**schema, "names": sorted(names, key=str.casefold)}


def _fields(model: type[BaseModel], bounds: Bounds) -> dict[str, Any]:
    """Each field's schema, without the null of those that may be left out, within the checkpoint's bounds."""
    schemas = model.model_json_schema()["properties"]
    fields = {name: {**schema.pop("anyOf", [{}])[0], **schema} for name, schema in schemas.items()}
    for name in ("num_inference_steps", "guidance_scale"):
        if span := getattr(bounds, name):
            fields[name] |= {"minimum": span[0], "maximum": span[1]}
    if bounds.scheduler:
        fields["scheduler"]["enum"] = list(bounds.scheduler)
    return fields


def _values(settled: BaseModel) -> dict[str, Any]:
    return settled.model_dump(exclude=set(ANYTHING), exclude_none=True, mode="json")
