"""What a server could not start with, seen before anything is loaded: by headers and configurations alone.

Of a folder of models, only as many files are looked at as are needed to find one for each stage.
"""

from __future__ import annotations

from collections.abc import Iterable

from sdxl.catalog.listing import FOLDERS
from sdxl.catalog.looks import Looks
from sdxl.catalog.scan import look_at, not_base
from sdxl.catalog.sources import Source, Sources
from sdxl.catalog.watch import list_files, named_sources, read_stated, stated_file
from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.files.check import check_beside, check_config, check_files


def check_start(settings: Settings, stages: Iterable[StageName]) -> None:
    """Raises ConfigurationError of one line unless each of these stages has a model."""
    if not settings.has_catalog:
        check_files(settings, stages)
        return
    for stage in stages:
        sources = named_sources(settings, read_stated(settings)[1], list_files(settings))
        _check_stage(stage, settings, sources)
        check_config(settings, stage)
        check_beside(settings, stage)


def _check_stage(stage: StageName, settings: Settings, sources: Sources) -> None:
    looks = Looks(samples=False)
    named = sources.default if stage == "base" else sources.refiner
    if named is not None:
        source = sources.models[named]
        found = look_at(source, looks)
        if found.fault:
            raise ConfigurationError(f"{_shown(source)}: {found.fault}")
        if stage == "base" and found.stage == "refiner":
            raise ConfigurationError(f"{_place(settings)}: {not_base(named)}")
        return
    first_fault = ""
    for name, source in sorted(sources.models.items()):
        found = look_at(source, looks)
        is_refiner = found.stage == "refiner" or (found.stage is None and name == sources.refiner)
        if found.fault is None and (stage == "refiner" or not is_refiner):
            return
        if found.fault and not first_fault:
            first_fault = f"; {_shown(source)}: {found.fault}"
    hint = "" if sources.models else f"; its models are looked for in {', '.join(sorted(FOLDERS))}"
    raise ConfigurationError(f"{_place(settings)}: there is no model that can be the {stage}{first_fault or hint}")


def _shown(source: Source) -> str:
    return f"{source.shown}={source.reference}" if source.shown.startswith("SDXL_") else source.shown


def _place(settings: Settings) -> str:
    return f"SDXL_MODELS={settings.models}" if settings.models else f"SDXL_CATALOG={stated_file(settings)}"
