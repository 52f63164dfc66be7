"""Every folder may import only what FLOORS says, no two of them import each other, and few may import bentoml."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# From the ground up. What each folder's own files may import besides themselves; sub-folders are folders of their own.
REQUEST = {"sdxl", "sdxl/request"}
DATA = REQUEST | {"sdxl/handoff", "sdxl/config"}
FILES_TOO = DATA | {"sdxl/files"}
CATALOG_TOO = FILES_TOO | {"sdxl/catalog"}
WORK = CATALOG_TOO | {"sdxl/prompt", "stepbatch", "sdxl/models"}
ALL_OF_SDXL = WORK | {"sdxl/models/backends", "sdxl/denoising", "sdxl/picture"}
OFFERED = {"sdxl/catalog", "sdxl/handoff"}  # what models there are, and what runners say of them
WAY = REQUEST | OFFERED | {"sdxl/config", "sdxl/files", "sdxl/picture", "runners", "entry/fleet", "entry/http"}
FLOORS: dict[str, set[str]] = {
    "sdxl": set(),
    "stepbatch": set(),
    "sdxl/request": {"sdxl"},
    "sdxl/prompt": REQUEST,
    "sdxl/handoff": REQUEST,
    "sdxl/config": REQUEST,
    "sdxl/files": REQUEST | {"sdxl/config"},
    "sdxl/catalog": REQUEST | {"sdxl/config", "sdxl/files"},
    "sdxl/picture": REQUEST | {"sdxl/config"},
    "sdxl/models/backends": {"sdxl/config"},
    "sdxl/models": CATALOG_TOO | {"sdxl/prompt", "stepbatch", "sdxl/models/backends"},
    "sdxl/denoising": WORK,
    "runners": ALL_OF_SDXL - {"sdxl/models/backends", "sdxl/picture"},
    "entry/fleet": DATA | {"sdxl/catalog", "sdxl/prompt", "runners"},
    "entry/http": REQUEST | {"sdxl/config", "sdxl/picture", "runners"},
    "entry": WAY,
    "entry/openai": WAY | {"entry"},
    "entry/automatic1111": WAY | {"entry", "sdxl/prompt"},
    "entry/page": REQUEST | {"sdxl/config", "sdxl/handoff", "runners"},
    "service.py": WAY | {"entry", "entry/openai", "entry/automatic1111", "entry/page"},
}
BENTOML = {"service.py", "runners"}
LIGHT = {"service.py", "entry", "entry/fleet", "entry/http", "entry/openai", "entry/automatic1111", "entry/page"}
STARTED = ("service.py", "entry/preflight.py", "entry/split.py", "runners/base_jobs.py", "runners/refiner_jobs.py")
# By diffusers, BentoML and pydantic, each in the release that it needs.
BROUGHT = {"huggingface_hub", "kantoku", "pydantic_core"}
MAX_LINES = 250
FOLDERS = ("entry", "runners", "sdxl", "stepbatch", "training", "benchmarks", "tests", "docs")
FILES = [path for name in ("service.py", "entry", "runners", "sdxl", "stepbatch")
         for path in ([ROOT / name] if name.endswith(".py") else sorted((ROOT / name).rglob("*.py")))]  # fmt: skip


def modules(path: Path, *, at_once: bool = False) -> Iterator[str]:
    """The dotted names that a file imports, wherever it does; of `from a import b`, a.b if that is a module.

    `at_once`: only what it imports when it is imported itself.
    """
    tree = ast.parse(path.read_text())
    for node in tree.body if at_once else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if file_of(inner).exists() else node.module


def file_of(module: str) -> Path:
    """A module's own file, if it is the project's."""
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def folder(path: Path) -> str:
    """The folder that a file is in, or the file itself at the top."""
    inner = path.relative_to(ROOT)
    return inner.parent.as_posix() if len(inner.parts) > 1 else inner.as_posix()


@cache
def folders_imported(path: Path) -> frozenset[str]:
    """The project's folders that a file imports from, without its own."""
    found = map(file_of, modules(path))
    return frozenset(folder(file) for file in found if file.exists()) - {folder(path)}


def test_every_folder_has_its_floor() -> None:
    assert {folder(path) for path in FILES} == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports(path: Path) -> None:
    own, outside = folder(path), {module.split(".")[0] for module in modules(path)}
    assert folders_imported(path) <= FLOORS[own]
    assert own in BENTOML or not outside & {"bentoml", "_bentoml_impl", "_bentoml_sdk"}
    assert own not in LIGHT or not outside & {"torch", "diffusers", "transformers", "accelerate", "peft"}
    assert own != "stepbatch" or outside <= sys.stdlib_module_names | {"torch", "stepbatch"}
    assert not outside & {"pickle", "cloudpickle", "dill", "joblib"}, "nothing is unpickled"


def test_no_file_is_long() -> None:
    """Tests, benchmarks and the training too, and what the page is made of."""
    files = [ROOT / "service.py", *(path for name in FOLDERS for path in (ROOT / name).rglob("*.*"))]
    long = {
        str(path.relative_to(ROOT)): count
        for path in files
        if path.suffix in {".py", ".js", ".css", ".html"} and (count := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_between_folders_imports_go_one_way(depth: int) -> None:
    """At every level: a folder counts with all that is in it, and what lies beside its sub-folders by itself."""
    graph: dict[str, set[str]] = {}
    for path in FILES:
        own = _cut(folder(path), depth)
        graph.setdefault(own, set()).update(_cut(name, depth) for name in folders_imported(path))
        graph[own].discard(own)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these import each other: {error.args[1]}")


def test_what_serving_imports_is_in_requirements_txt() -> None:
    """The tests' environment has more packages than that of `make serve`. A backend's are imported with the backend."""
    waiting = [ROOT / name for name in STARTED]
    seen = set(waiting)
    packages: set[str] = set()
    while waiting:
        for module in modules(waiting.pop(), at_once=True):
            if not (file := file_of(module)).exists():
                packages.add(module.split(".")[0])
            elif file not in seen:
                seen.add(file)
                waiting.append(file)
    assert ROOT / "sdxl/models/backends/export.py" in seen
    required = set(re.findall(r"^[\w-]+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)) | BROUGHT
    providers = packages_distributions()
    foreign = packages - sys.stdlib_module_names
    assert {name for name in foreign if required.isdisjoint(map(str.lower, providers.get(name, ())))} == set()


def _cut(name: str, depth: int) -> str:
    return "/".join(name.split("/")[:depth])


@pytest.mark.parametrize("module", ["service", "runners.base", "runners.refiner", "entry.preflight"])
def test_what_only_serves_has_no_models(module: str) -> None:
    """Of the entry and of `bentoml serve` itself: what they import is seconds, and hundreds of megabytes."""
    heavy = "{'torch', 'diffusers', 'transformers', 'accelerate', 'peft', 'scipy'}"
    code = f"import {module}, sys; print({heavy} & set(sys.modules) or 'none')"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SDXL_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT, env=kept, capture_output=True, text=True, timeout=100, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "none"
