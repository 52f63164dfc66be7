"""From the words of a request to the names of what the stages offer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from sdxl.catalog.find import AmbiguousNameError, Named, find
from sdxl.errors import RelayError, invalid_field, shorten
from sdxl.handoff.offer import Offer, OfferedFile, OfferedModel
from sdxl.request.loras import Lora, Loras

ALIAS = "sdxl"
"""Always the default model, unless one is called exactly so."""
SHOWN = 20  # names in a message
T = TypeVar("T", bound=OfferedFile)


def each_once(things: Iterable[T]) -> list[T]:
    """By name, and in the order of the names; of several, the first that tells its SHA-256."""
    found: dict[str, T] = {}
    for thing in things:
        if thing.name not in found or (thing.sha256 and not found[thing.name].sha256):
            found[thing.name] = thing
    return sorted(found.values(), key=lambda thing: thing.name.casefold())


def default_of(offers: Sequence[Offer]) -> OfferedModel | None:
    """The model of requests that name none; None while it is not there."""
    models = each_once(model for offer in offers for model in offer.models)
    return next((model for model in models if model.name == offers[0].default), None)


def model_named(wanted: str | None, offers: Sequence[Offer], field: str = "model") -> OfferedModel | None:
    """The model that a request means; without a word the default. None while nothing is offered at all.

    Raises RelayError: 404 for one that is not there, 400 for a word that means several.
    """
    if not offers:
        return None
    models = each_once(model for offer in offers for model in offer.models)
    is_default = wanted is None or (wanted == ALIAS and all(model.name != ALIAS for model in models))
    found = default_of(offers) if is_default else _find(field, wanted or "", models)
    if found is None:
        got = f"no name, and the default {offers[0].default} is not there" if is_default else shorten(wanted)
        message = f"{field}: got {got}; allowed: {_listed(models)}"
        raise RelayError(404, "model_not_found", message, field=field, got=wanted and shorten(wanted))
    return found


def loras_named(wanted: Loras, offers: Iterable[Offer]) -> Loras:
    """With the names as they are offered. Raises RelayError (400) for a LoRA that is not there, or comes twice."""
    if not wanted:
        return wanted
    known = each_once(lora for offer in offers for lora in offer.loras)
    named: list[Lora] = []
    for lora in wanted:
        found = _find("loras", lora.name, known)
        if found is None:
            raise invalid_field("loras", lora.name, _listed(known) or "none, for the server has no LoRAs")
        if any(found.name == other.name for other in named):
            raise invalid_field("loras", lora.name, f"each LoRA once; {found.name} has been named before")
        named.append(lora.model_copy(update={"name": found.name}))
    return tuple(named)


def _find(field: str, wanted: str, things: Sequence[T]) -> T | None:
    try:
        found = find(
            wanted,
            [Named(name=one.name, file=one.file, hashes=(one.sha256,) if one.sha256 else ()) for one in things],
        )
    except AmbiguousNameError as error:
        raise invalid_field(field, wanted, f"one name; {error}") from None
    return next((one for one in things if found and one.name == found.name), None)


def _listed(things: Sequence[OfferedFile]) -> str:
    names = sorted(thing.name for thing in things)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
