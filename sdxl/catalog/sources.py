"""Which models there are to be, and where each comes from: the folder, catalog.yaml or the settings.

Nothing is opened for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path

from sdxl.catalog.listing import SUFFIX, Listing
from sdxl.catalog.names import cleaned
from sdxl.catalog.stated import FILE, Stated, StatedModel
from sdxl.config.presets import PresetName
from sdxl.config.references import checked, name_of
from sdxl.config.settings import Settings, StageName

NONE = "none"
SHOWN_NAMES = 5
NOTHING_STATED = StatedModel()


@dataclass(frozen=True, kw_only=True)
class Source:
    """One model to be, with all references resolved."""

    reference: str
    shown: str
    """What its fault is named by."""
    is_base: bool = False
    """SDXL_BASE names it. Any other may be a base or a refiner; either can refine."""
    stated: StatedModel = NOTHING_STATED
    vae: str | None = None
    preset: PresetName | None = None
    distilled: str | None = None
    config: str | None = None


@dataclass(kw_only=True)
class Sources:
    """All of them by name, and what is wrong with how they are named."""

    file: str = FILE
    """What catalog.yaml is called."""
    models: dict[str, Source] = field(default_factory=dict)
    default: str | None = None
    refiner: str | None = None
    problems: dict[str, str] = field(default_factory=dict)
    """By the setting or the field of catalog.yaml at fault."""
    faults: dict[str, str] = field(default_factory=dict)
    """Why a file is not offered, by its path."""
    missing: dict[str, str] = field(default_factory=dict)
    """Why a model is not among `models`, by its name."""


def sources_of(settings: Settings, stated: Stated, file: Path | None, listing: Listing) -> Sources:
    """`file` is the catalog.yaml that says what is stated; paths in it are below its folder."""
    found = Sources(models={
        name: Source(reference=str(path), shown=listing.shown(path)) for name, path in listing.found["models"].items()
    })  # fmt: skip
    if file is not None:
        found.file = file.name
        for name, model in stated.models.items():
            _add_stated(found, name, model, file, listing)
        _name_models(found, stated, file.name)
        _name_loras(found, stated, file.name, {*listing.found["loras"], *settings.loras, *settings.refiner_loras})
    if "base" in settings.model_fields_set or not settings.has_catalog:
        found.default = _add_setting(found, settings, "base")
    if "refiner" in settings.model_fields_set or not settings.has_catalog:
        found.refiner = None if settings.refiner is None else _add_setting(found, settings, "refiner")
    return found


def _add_stated(found: Sources, name: str, stated: StatedModel, file: Path, listing: Listing) -> None:
    """A model that anything is wrong with is left out, so that it does not make other pictures than it should."""
    at, problems = f"{file.name}: models.{name}", dict[str, str]()

    def resolved(key: str, text: str | None) -> str | None:
        try:
            return None if text is None else _resolved(text, file.parent)
        except ValueError as error:
            problems[f"{at}.{key}"] = f"{text}: {error}"
            return None

    own = found.models.pop(name, None)
    reference = resolved("checkpoint", stated.checkpoint)
    if own is not None and stated.checkpoint is not None:
        found.faults[own.shown] = f"{file.name} has another model of the name {name}"
    elif own is not None:
        reference = own.reference
    elif stated.checkpoint is None:
        problems[at] = _unknown("file", name, listing.found["models"]) + "; checkpoint names one that is elsewhere"
    vae = listing.found["vaes"].get((stated.vae or "").removesuffix(SUFFIX))
    source = Source(
        reference=reference or "",
        shown=at if own is None or stated.checkpoint is not None else own.shown,
        stated=stated,
        vae=str(vae) if vae else resolved("vae", stated.vae),
        preset=stated.preset,
        distilled=resolved("distilled", stated.distilled),
        config=resolved("config", stated.config),
    )
    found.problems |= problems
    if problems:
        found.missing[name] = "; ".join(problems.values())
    else:
        found.models[name] = source


def _name_models(found: Sources, stated: Stated, file: str) -> None:
    found.default, found.refiner = stated.default, None if stated.refiner == NONE else stated.refiner
    named = {"default": found.default, "refiner": found.refiner}
    named |= {f"models.{name}.refiner": model.refiner for name, model in stated.models.items()}
    for key, name in named.items():
        if name is not None and name not in found.models and not (name == NONE and key.startswith("models.")):
            found.problems[f"{file}: {key}"] = _unknown("model", name, found.models)


def _name_loras(found: Sources, stated: Stated, file: str, known: Iterable[str]) -> None:
    for name, model in stated.models.items():
        for lora in model.loras or ():
            if lora.name not in known:
                problem = _unknown("LoRA", lora.name, known)
                found.problems[f"{file}: models.{name}.loras"] = found.missing[name] = problem
                found.models.pop(name, None)


def _add_setting(found: Sources, settings: Settings, stage: StageName) -> str:
    """SDXL_BASE or SDXL_REFINER: one of the models, or one more. Gives its name."""
    setting, reference = f"SDXL_{stage.upper()}", str(getattr(settings, stage))
    own = Source(
        reference=reference,
        shown=setting,
        is_base=stage == "base",
        vae=settings.vae,
        preset=settings.preset,
        distilled=settings.distilled if stage == "base" else None,
    )
    name = reference if reference in found.models else _same_file(found, reference)
    if name is not None:
        here = found.models[name]
        found.models[name] = replace(
            here,
            is_base=own.is_base or here.is_base,
            vae=own.vae or here.vae,
            preset=own.preset or here.preset,
            distilled=own.distilled or here.distilled,
        )
        return name
    try:
        checked(reference)
    except ValueError:
        problem = _unknown("checkpoint and no model", reference, found.models)
        found.problems[f"{setting}={reference}"] = found.missing[reference] = problem
        return reference
    name = cleaned(name_of(reference, stage))
    if stage == "refiner" and name in found.models:
        name = f"{name}/{stage}"
    if name in found.models:
        found.faults[found.models[name].shown] = f"{setting} has another model of the name {name}"
    found.models[name] = own
    return name


def _same_file(found: Sources, reference: str) -> str | None:
    """The name of a model that the reference is a path of."""
    real = Path(reference).resolve()
    paths = ((name, Path(source.reference)) for name, source in found.models.items())
    return next((name for name, path in paths if path.exists() and path.resolve() == real), None)


def _resolved(text: str, folder: Path) -> str:
    """A path below the folder, or a reference as settings have it. Raises ValueError for what is neither."""
    inner = folder / text
    return checked(inner if inner.exists() else text)


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if like := get_close_matches(name, names, 1):
        return f"there is no {what} {name}; did you mean {like[0]}?"
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"there is no {what} {name}; there are {', '.join(names[:SHOWN_NAMES]) or 'none'}{more}"
