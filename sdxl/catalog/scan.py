"""A catalog from what there is: every file looked at, each fault told, none of which costs another file anything."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from sdxl.catalog.entries import Catalog, Embedding, LoraFile, Model, VaeFile
from sdxl.catalog.fingerprint import together
from sdxl.catalog.listing import Kind, Listing
from sdxl.catalog.looks import Expected, Found, Looks
from sdxl.catalog.sources import NONE, Source, Sources
from sdxl.config.settings import Settings, StageName

REFERENCES: Mapping[str, Expected] = {"vae": "vae", "distilled": "weights"}


def scan(settings: Settings, sources: Sources, listing: Listing, looks: Looks) -> Catalog:
    """The catalog; what was wrong with the names in `sources` is among its faults."""
    faults, missing = {**listing.faults, **sources.faults, **sources.problems}, dict(sources.missing)
    loras = _loras(settings, listing, looks, faults)
    for name, path in listing.found["loras"].items():
        if name not in loras:
            missing[name] = faults[listing.shown(path)]
    refiners = {sources.refiner, *(source.stated.refiner for source in sources.models.values())}
    models = {}
    for name, source in sorted(sources.models.items()):
        model, fault = _model(name, source, settings, looks, is_refiner=name in refiners)
        unusable = next((lora.name for lora in model.loras if lora.name not in loras), None)
        if fault is None and unusable is not None:
            fault = f"its LoRA {unusable} cannot be loaded"
        if fault is None:
            models[name] = model
        else:
            faults[source.shown] = missing[name] = fault
    bases = [name for name, model in models.items() if model.kind == "base"]
    default = sources.default or next(iter(bases), "")
    if default in models and default not in bases:
        faults[f"{sources.file}: default"] = not_base(default)
    found = {kind: _looked(kind, expected, listing, looks, faults) for kind, expected in _OTHERS.items()}
    return Catalog(
        models={name: _with_refiner(model, sources) for name, model in models.items()},
        loras=loras,
        vaes={name: VaeFile(name=name, path=path, fingerprint=its.fingerprint) for name, path, its in found["vaes"]},
        embeddings={
            name: Embedding(name=name, path=path, fingerprint=its.fingerprint)
            for name, path, its in found["embeddings"]
        },
        faults=dict(sorted(faults.items())),
        missing=missing,
        default=default,
        refiner=sources.refiner,
    )


_OTHERS: Mapping[Kind, Expected] = {"vaes": "vae", "embeddings": "embedding"}


def look_at(source: Source, looks: Looks) -> Found:
    """The checkpoint of a model, or nothing found if it is not on this machine."""
    path = Path(source.reference)
    if not path.exists() and not source.reference.endswith(".safetensors"):
        return Found()
    expected: Mapping[tuple[bool, bool], Expected] = {
        (False, False): "model", (False, True): "model but its VAE",
        (True, False): "base", (True, True): "base but its VAE",
    }  # fmt: skip
    return looks.at(path, expected[source.is_base, source.vae is not None])


def not_base(name: str) -> str:
    """What is said of a model that is named where only a base will do."""
    return f"{name} is SDXL's refiner; a base is needed"


def _model(
    name: str, source: Source, settings: Settings, looks: Looks, *, is_refiner: bool
) -> tuple[Model, str | None]:
    """The model, and why it cannot be loaded. `is_refiner`: whether something names it as a refiner."""
    found, fault = look_at(source, looks), None
    fingerprints = [found.fingerprint or _of_text(source.reference)]
    for key, expected in REFERENCES.items():
        reference = getattr(source, key)
        its = looks.at(Path(reference), expected) if reference and Path(reference).exists() else Found()
        if its.fault:
            fault = f"its {key} {reference}: {its.fault}"
        fingerprints.append(its.fingerprint or (reference and _of_text(reference)))
    kind: StageName = found.stage or ("refiner" if is_refiner and not source.is_base else "base")
    model = Model(
        name=name,
        reference=source.reference,
        kind=kind,
        fingerprint=together(*fingerprints, source.preset),
        config=source.config or (settings.base_config if kind == "base" else settings.refiner_config),
        vae=source.vae,
        preset=source.preset,
        distilled=source.distilled,
        refiner=source.stated.refiner,
        loras=source.stated.loras or (),
        defaults=source.stated.own_defaults,
        is_pinned=source.stated.resident == "always",
    )
    return model, found.fault or fault


def _with_refiner(model: Model, sources: Sources) -> Model:
    """A refiner that is among the faults stays named, so that nobody gets other pictures without a word."""
    if model.kind == "refiner" or model.refiner == NONE:
        return replace(model, refiner=None)
    return replace(model, refiner=model.refiner or sources.refiner)


def _loras(
    settings: Settings, listing: Listing, looks: Looks, faults: dict[str, str]
) -> dict[str, tuple[LoraFile, ...]]:
    files: dict[str, list[LoraFile]] = defaultdict(list)
    ours: tuple[tuple[StageName, Mapping[str, Path]], ...] = (
        ("base", settings.loras),
        ("refiner", settings.refiner_loras),
    )
    for stage, given in ours:
        is_elsewhere = bool(getattr(settings, f"{stage}_url"))  # where only the names count
        for name, path in given.items():
            its = Found() if is_elsewhere else looks.at(path, "lora")
            if its.fault:
                faults[str(path)] = its.fault
            else:
                files[name].append(_lora(name, path, stage, its))
    for name, path, its in _looked("loras", "lora", listing, looks, faults):
        if name in files:
            faults[listing.shown(path)] = f"the settings have another LoRA of the name {name}"
        else:
            files[name].append(_lora(name, path, None, its))
    return {name: tuple(files[name]) for name in sorted(files)}


def _lora(name: str, path: Path, stage: StageName | None, found: Found) -> LoraFile:
    return LoraFile(name=name, path=path, stage=stage, fingerprint=found.fingerprint, metadata=found.metadata)


def _looked(
    kind: Kind, expected: Expected, listing: Listing, looks: Looks, faults: dict[str, str]
) -> list[tuple[str, Path, Found]]:
    """What can be loaded of the folder's files of one kind."""
    all_of_them = [(name, path, looks.at(path, expected)) for name, path in sorted(listing.found[kind].items())]
    faults |= {listing.shown(path): found.fault for _, path, found in all_of_them if found.fault}
    return [each for each in all_of_them if not each[2].fault]


def _of_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
