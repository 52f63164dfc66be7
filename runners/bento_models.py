"""Models in BentoML's store."""

from __future__ import annotations

from pathlib import Path

import bentoml

from sdxl.config.references import UnusableFile


def folder_of(tag: str) -> Path:
    """The folder of a model in the store. Raises UnusableFile."""
    try:
        return Path(bentoml.models.get(tag).path)
    except bentoml.exceptions.BentoMLException as error:
        raise UnusableFile(f"there is no such Bento model; `bentoml models list` shows them ({error})") from error
