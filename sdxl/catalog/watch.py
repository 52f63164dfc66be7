"""The present catalog, and how it follows the files while the server runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from threading import Lock

from sdxl.catalog.entries import Catalog
from sdxl.catalog.listing import Listing, listed
from sdxl.catalog.looks import Looks
from sdxl.catalog.scan import scan
from sdxl.catalog.sources import Sources, sources_of
from sdxl.catalog.stated import FILE, Stated, parsed
from sdxl.config.settings import ConfigurationError, Settings


class Watched:
    """Holds the catalog. Threads may read `catalog` and call `refresh` at any time.

    Raises ConfigurationError of one line, when it is made, for a catalog.yaml that cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = Lock()
        self._content, self._stated = read_stated(settings)
        listing = list_files(settings)
        sources = named_sources(settings, self._stated, listing)
        self._looks = Looks()
        self.catalog: Catalog = scan(settings, sources, listing, self._looks)

    def refresh(self) -> bool:
        """Scans anew, and says whether something has changed. What has not is not read again.

        A catalog.yaml that cannot be used is named in `faults`, and the last one that could be counts.
        """
        with self._lock:
            looks, listing = Looks(self._looks), list_files(self._settings)
            fault = self._read_anew(listing)
            sources = sources_of(self._settings, self._stated, stated_file(self._settings), listing)
            catalog = scan(self._settings, sources, listing, looks)
            if fault is not None:
                catalog = replace(catalog, faults={sources.file: fault, **catalog.faults})
            has_changed = catalog != self.catalog
            self._looks, self.catalog = looks, catalog
            return has_changed

    def _read_anew(self, listing: Listing) -> str | None:
        """Takes a changed catalog.yaml if it can be used with the files that are there; what is wrong if not."""
        try:
            if read_bytes(self._settings) != self._content:
                content, stated = read_stated(self._settings)
                named_sources(self._settings, stated, listing)
                self._content, self._stated = content, stated
        except ConfigurationError as error:
            return str(error)
        return None


def stated_file(settings: Settings) -> Path | None:
    """Where catalog.yaml is, or would be."""
    return settings.catalog or (settings.models / FILE if settings.models else None)


def read_bytes(settings: Settings) -> bytes | None:
    """Of catalog.yaml; None where there is none. Raises ConfigurationError if it cannot be read."""
    path = stated_file(settings)
    if path is None or not (path.exists() or settings.catalog):
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path.name}: it cannot be read: {error.strerror}") from error


def read_stated(settings: Settings) -> tuple[bytes | None, Stated]:
    """catalog.yaml's bytes and what they say. Raises ConfigurationError."""
    content, path = read_bytes(settings), stated_file(settings)
    return content, Stated() if content is None or path is None else parsed(path, content)


def list_files(settings: Settings) -> Listing:
    """What is in SDXL_MODELS."""
    return listed(settings.models) if settings.models else Listing()


def named_sources(settings: Settings, stated: Stated, listing: Listing) -> Sources:
    """Raises ConfigurationError for the first name of a model or a file that does not lead to anything."""
    sources = sources_of(settings, stated, stated_file(settings), listing)
    for at, problem in sources.problems.items():
        raise ConfigurationError(f"{at}: {problem}")
    return sources
