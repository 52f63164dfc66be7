"""Imports go one way: service -> entry, runners -> sdxl, stepbatch; and only few may import bentoml."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OWN = {"service", "entry", "runners", "sdxl", "stepbatch", "training", "tests", "benchmarks"}
ALLOWED = {
    "service": {"entry", "runners", "sdxl"},
    "entry": {"entry", "runners", "sdxl"},
    "runners": {"runners", "sdxl", "stepbatch"},
    "sdxl": {"sdxl", "stepbatch"},
    "stepbatch": {"stepbatch"},
}
FILES = [ROOT / "service.py", *(path for name in ALLOWED for path in sorted((ROOT / name).rglob("*.py")))]


def imported(path: Path) -> set[str]:
    """The top-level names of all modules that a file imports, wherever it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add((node.module or "").split(".")[0])
    return names


def package(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    names = imported(path)
    assert names & OWN <= ALLOWED[package(path)]
    if package(path) not in ("service", "runners"):
        assert "bentoml" not in names
    if package(path) == "stepbatch":
        assert names <= sys.stdlib_module_names | {"torch", "stepbatch"}
    if package(path) in ("service", "entry"):
        assert not names & {"torch", "diffusers", "transformers"}


def test_nothing_is_unpickled() -> None:
    for path in FILES:
        assert not imported(path) & {"pickle", "cloudpickle", "dill", "joblib"}, path


def test_an_entry_whose_stages_are_elsewhere_has_no_models() -> None:
    heavy = "{'diffusers', 'transformers', 'accelerate', 'gradio'}"  # seconds, and hundreds of megabytes
    code = f"import service, sys; print({heavy} & set(sys.modules) or 'none')"
    urls = {"SDXL_BASE_URL": "http://127.0.0.1:1", "SDXL_REFINER_URL": "http://127.0.0.1:2"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SDXL_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT, env={**kept, **urls}, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "none"
