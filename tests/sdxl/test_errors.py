"""Every error code has a meaning, and is raised somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from sdxl.error_codes import MEANINGS, ErrorCode

ROOT = Path(__file__).parents[2]
SOURCES = [
    ROOT / "service.py",
    *(path for name in ("entry", "runners", "sdxl") for path in (ROOT / name).rglob("*.py")),
]


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(get_args(ErrorCode))


def test_every_code_is_raised() -> None:
    text = "".join(path.read_text() for path in SOURCES if path.name != "error_codes.py")
    assert [code for code in MEANINGS if not re.search(rf'"{code}"', text)] == []
