"""A picture's answer as an HTTP client gets it."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from entry.answer import PictureFile


@pytest.mark.parametrize(
    ("told", "header"),
    [
        ("offset=0.8 (base), style=1 (base + refiner)", "offset=0.8 (base), style=1 (base + refiner)"),
        ("K\u00e4se \u65e5=1 (base)", "K%C3%A4se %E6%97%A5=1 (base)"),
        ("100%25=1 (base)", "100%2525=1 (base)"),
    ],
)
def test_names_of_loras_in_a_header(told: str, header: str) -> None:
    """A header is ASCII: what is not in it is percent-encoded, as is the percent sign, so that it can be undone."""
    file = PictureFile(
        data=b"", media_type="image/png", width_px=64, height_px=64, seed=1, warnings={}, spent_ms={}, loras=told
    )
    assert file.as_response().headers["x-loras"] == header
    assert unquote(header) == told
    assert file.as_json()["loras"] == told
