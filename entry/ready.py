"""The last line of a start: where the server is, once it can make pictures."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from entry.http.docs import DOCS_PATH

logger = logging.getLogger("bentoml.sdxl_relay")


async def tell_when_ready(is_ready: asyncio.Event, url: Callable[[], str], page: str | None) -> None:
    """Waits for both stages. `page` is the path of the page, None if there is none."""
    await is_ready.wait()
    paths = {"page": page, "API": DOCS_PATH}
    logger.info("ready: %s (%s)", url(), ", ".join(f"{name}: {path}" for name, path in paths.items() if path))
