"""A stage's model as the settings name it, loaded as a runner loads it."""

from __future__ import annotations

from pathlib import Path

from runners.stage import Stage
from sdxl.catalog.watch import Watched
from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.files.check import check_files
from sdxl.models.checkpoint import Checkpoint, load
from sdxl.models.facts import BentoModel


def load_stage(stage: StageName, settings: Settings, bento_model: BentoModel = Path) -> Checkpoint:
    catalog = Watched(settings).catalog
    name = catalog.default if stage == "base" else catalog.refiner
    assert name is not None
    if name not in catalog.models:
        check_files(settings, [stage])  # as a server does first
        raise ConfigurationError(f"SDXL_{stage.upper()}={getattr(settings, stage)}: {catalog.missing[name]}")
    return load(stage, catalog.models[name], settings, bento_model)


def default_checkpoint(stage: Stage) -> Checkpoint:
    """That of requests that name none."""
    return stage.there(stage.shelf.known(None))
