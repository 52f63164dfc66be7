"""The mini checkpoint's files once for all tests of the catalog, and folders of models made from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdxl.files.checkpoints import original


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base.safetensors and refiner.safetensors."""
    path = tmp_path_factory.mktemp("original")
    original("base", path / "base.safetensors")
    original("refiner", path / "refiner.safetensors")
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An empty folder."""
    (tmp_path / "models").mkdir()
    return tmp_path / "models"
