"""The names under which files are offered."""

from __future__ import annotations

import re
import unicodedata

from sdxl.config.references import UnusableFile

MAX_CHARACTERS = 200
_STRANGE = re.compile(r"[<>:,]")  # which part names from what stands beside them, in lists and in <lora:name:scale>


def cleaned(text: str) -> str:
    """A name in which what cannot be in one is "_", and letters with accents are one character each (NFC).

    Raises UnusableFile for one that is too long.
    """
    whole = unicodedata.normalize("NFC", _STRANGE.sub("_", text)).strip()
    name = "".join(each if each.isprintable() else "_" for each in whole)
    if len(name) > MAX_CHARACTERS:
        raise UnusableFile(f"its name has {len(name)} characters; allowed: up to {MAX_CHARACTERS}")
    return name
