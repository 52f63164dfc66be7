"""Links lead to files and headings, tables are those of the code, and the site loads nothing from other hosts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = "zensical.toml"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md")]
PAGES += sorted(DOCS.rglob("*.md"))
CODE = re.compile(r"^(`{3,}).*?^\1[^\n]*$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
FENCE = re.compile(r"^(`{3,}).*?^\1[^\n]*$", re.DOTALL | re.MULTILINE)
LOADED = re.compile(
    r"<(?:script|img|source|iframe)\b[^>]*\bsrc=[\"']?(?:https?:)?//|<link\b[^>]*\bhref=[\"']?(?:https?:)?//"
)


def links(page: Path) -> Iterator[str]:
    """What a page links to, or shows as a picture, on this machine."""
    for link in LINK.findall(CODE.sub("", page.read_text())):
        if not re.match(r"[a-z]+:", link):
            yield link


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    kept = (re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", heading)) for heading in headings)
    return frozenset(heading.lower().replace(" ", "-") for heading in kept)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no such file"
        assert DOCS not in page.parents or DOCS in target.parents, f"{link}: it is not in the site"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


def test_the_navigation_has_every_page() -> None:
    nav = re.findall(r'"([^"]+\.md)"', (ROOT / SITE).read_text())
    assert sorted(nav) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_tables_are_those_of_the_code(tmp_path: Path) -> None:
    """Else run `python -m docs.reference_pages`."""
    done = subprocess.run(
        [sys.executable, "-m", "docs.reference_pages", "--check"],
        cwd=ROOT, env={**os.environ, "BENTOML_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]


@pytest.mark.skipif(find_spec("zensical") is None, reason="zensical is not installed: see requirements-docs.txt")
def test_the_site_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    shutil.copy(ROOT / SITE, tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / tomllib.loads((ROOT / SITE).read_text())["project"]["site_dir"]
    pages = list(folder.rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))  # and 404.html
    assert [str(page) for page in pages if LOADED.search(page.read_text())] == []
    assert not list(folder.rglob("*.py"))
