"""Names of LoRAs, as files have them."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from sdxl.request.loras import LORA_NAME, Lora


@pytest.mark.parametrize("name", ["a", "styles/Night v1.5 (日本) [x] é", "x" * 200, "100%", "a=b"])
def test_names(name: str) -> None:
    assert Lora(name=name).name == name
    assert re.fullmatch(LORA_NAME, name)


@pytest.mark.parametrize(
    "name", ["", "x" * 201, "a:b", "a,b", "<a", "a>", "a\nb", "a\r", "a\n", "a\0", "\x85", "\u2028"]
)
def test_what_is_no_name(name: str) -> None:
    """In pydantic's patterns as in Python's."""
    with pytest.raises(ValidationError):
        Lora(name=name)
    assert not re.fullmatch(LORA_NAME, name)
