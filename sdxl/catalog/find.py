"""Which of several named things a client means: by name, file, title or hash, as other servers' clients say it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

_TITLE = re.compile(r"(?P<file>.+?)\s*\[(?P<hash>[0-9A-Fa-f]{8,64})\]")  # AUTOMATIC1111's, of a file and its SHA-256
_HASH = re.compile(r"[0-9A-Fa-f]{8,64}")
SHOWN_CANDIDATES = 8


class AmbiguousNameError(ValueError):
    """Several things are meant alike. The message names them."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """What is known of one thing where its file is not: on the entry."""

    name: str
    file: str = ""
    """Its path below the folder of its kind, with its suffix; "" for what is no file."""
    hashes: tuple[str, ...] = ()
    """Whole SHA-256 in hexadecimal digits, as far as they are known."""


def find(wanted: str, among: Iterable[Named]) -> Named | None:
    """The one that is wanted, or None. Raises AmbiguousNameError.

    The first of these ways that leads to anything counts, each without regard to case after all with regard to it:
    the name; the file; AUTOMATIC1111's title `file [hash]`; 8 or more digits that a SHA-256 begins with; the last part
    of a name or a file.
    """
    things = list(among)
    text = unicodedata.normalize("NFC", wanted).replace("\\", "/").strip()
    for same in (str, str.casefold):
        for found in _ways(text, things, same):
            if len(found) > 1:
                names = [thing.name for thing in found]
                more = f" and {len(names) - SHOWN_CANDIDATES} more" if len(names) > SHOWN_CANDIDATES else ""
                raise AmbiguousNameError(f"several are meant alike: {', '.join(names[:SHOWN_CANDIDATES])}{more}")
            if found:
                return found[0]
    return None


def _ways(text: str, things: list[Named], same: Callable[[str], str]) -> Iterator[list[Named]]:
    def alike(part: Callable[[Named], tuple[str, ...]], wanted: str = text) -> list[Named]:
        return [thing for thing in things if same(wanted) in {same(each) for each in part(thing) if each}]

    yield alike(lambda thing: (thing.name,))
    yield alike(lambda thing: (thing.file,))
    if title := _TITLE.fullmatch(text):
        begun = _begun(title["hash"], things)
        own = alike(lambda thing: (thing.name, thing.file, *_last_parts(thing)), title["file"])
        both = [thing for thing in own if thing in begun]
        yield both or begun or [thing for thing in own if not thing.hashes]  # a renamed file is known by its hash
    if _HASH.fullmatch(text):
        yield _begun(text, things)
    yield alike(_last_parts)


def _begun(digits: str, things: list[Named]) -> list[Named]:
    return [thing for thing in things if any(each.startswith(digits.lower()) for each in thing.hashes)]


def _last_parts(thing: Named) -> tuple[str, ...]:
    return thing.name.rpartition("/")[2], thing.file.rpartition("/")[2]
