"""The settings of a process, with what catalog.yaml adds to them."""

from __future__ import annotations

from sdxl.catalog.watch import read_stated
from sdxl.config.ending import end
from sdxl.config.settings import ConfigurationError, Settings


def settings_or_exit() -> Settings:
    """Ends the process with the one line that says what is wrong with them."""
    try:
        return with_refiner(Settings.from_environment())
    except ConfigurationError as error:
        end(error)


def with_refiner(settings: Settings) -> Settings:
    """Where no setting names a refiner, that of catalog.yaml: with it, there is a refiner stage.

    Raises ConfigurationError.
    """
    if not settings.has_catalog or "refiner" in settings.model_fields_set:
        return settings
    refiner = read_stated(settings)[1].refiner
    return settings if refiner in (None, "none") else settings.model_copy(update={"refiner": refiner})
