"""By which words people name a model or a LoRA."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol, TypeVar

SHORT_HASH = 10  # hex digits of a SHA-256 that AUTOMATIC1111 shows
LEAST_HASH = 8
_TITLE = re.compile(r"(?P<file>.+) \[(?P<hash>[0-9a-f]{8,64})\]")


class Named(Protocol):
    """What can be found."""

    @property
    def name(self) -> str:
        """By which requests name it; it may be a path."""

    @property
    def file(self) -> str:
        """As its file is called."""

    @property
    def sha256(self) -> str | None:
        """Of the file, if it is known."""


T = TypeVar("T", bound=Named)


class AmbiguousName(ValueError):
    """Several are called so. The message lists them."""


def find(wanted: str, things: Iterable[T]) -> T | None:
    """That which is called so; None if nothing is.

    By its name, its file's name, AUTOMATIC1111's title `file [hash]`, the first 8 hex digits or more of its SHA-256, or
    the last part of its path if nothing else ends so. All that again without regard to case.
    Raises AmbiguousName if several are called so.
    """
    title = _TITLE.fullmatch(wanted.strip())
    text = title["file"] if title else wanted.strip()
    known = list(things)
    for fold in (str, str.casefold):
        for names in (_whole, _last):
            found = [thing for thing in known if fold(text) in {fold(name) for name in names(thing)}]
            if len(found) > 1:
                raise AmbiguousName(", ".join(sorted(thing.name for thing in found)))
            if found:
                return found[0]
    return _by_hash(wanted, known)


def title_of(thing: Named) -> str:
    """What AUTOMATIC1111 calls a checkpoint."""
    return f"{thing.file} [{thing.sha256[:SHORT_HASH]}]" if thing.sha256 else thing.file


def _whole(thing: Named) -> set[str]:
    return {thing.name, thing.file}


def _last(thing: Named) -> set[str]:
    return {name.rpartition("/")[2] for name in _whole(thing)}


def _by_hash(wanted: str, known: Iterable[T]) -> T | None:
    digits = wanted.strip().lower()
    if not re.fullmatch(rf"[0-9a-f]{{{LEAST_HASH},64}}", digits):
        return None
    return next((thing for thing in known if thing.sha256 and thing.sha256.startswith(digits)), None)
