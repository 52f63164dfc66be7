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


def test_models_in_a_header() -> None:
    """Every answer says by which models the picture was made, in the order of their work."""
    file = PictureFile(
        data=b"",
        media_type="image/png",
        width_px=64,
        height_px=64,
        seed=1,
        warnings={},
        spent_ms={},
        models={"base": "anime/Käse (v1.5)", "refiner": "sd_xl_refiner_1.0"},
        digests={"base": "b" * 64, "refiner": "r" * 64},
    )
    header = file.as_response().headers["x-models"]
    assert unquote(header) == "anime/Käse (v1.5) (base), sd_xl_refiner_1.0 (refiner)"
    assert header.isascii()
    assert (file.model, file.digest) == ("anime/Käse (v1.5)", "b" * 64)
    assert file.as_json()["models"] == {"base": "anime/Käse (v1.5)", "refiner": "sd_xl_refiner_1.0"}
