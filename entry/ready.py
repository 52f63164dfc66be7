"""The last line of a start: where the server is, once it can make pictures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from entry.fleet.fleet import Fleet
from entry.http.docs import DOCS_PATH

logger = logging.getLogger("bentoml.sdxl_relay")


async def tell_when_ready(fleet: Fleet, url: Callable[[], str], page: str | None, keys: Sequence[str]) -> None:
    """Waits for all stages. `page` is the path of the page, None if there is none; `keys` are names."""
    await fleet.has_been_ready.wait()
    for disagreement in fleet.disagreements():
        logger.warning(
            "base and refiner do not fit, and each works only alone (refine=none, /refine): %s", disagreement
        )
    told = {"page": page, "API": DOCS_PATH, "API keys": ", ".join(keys)}
    logger.info("ready: %s (%s)", url(), "; ".join(f"{name}: {what}" for name, what in told.items() if what))
