"""The project's version, from pyproject.toml; a built bento has that file too."""

import tomllib
from pathlib import Path

PRODUCT = "SDXL Relay"
VERSION: str = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["version"]
