"""Pictures that are kept for clients: for how long, and how many."""

from __future__ import annotations

import time
from typing import Any

import pytest
from starlette.requests import Request

from entry.answer import PictureFile
from entry.openai.links import Links
from sdxl.config.settings import Settings


def links(**settings: Any) -> Links:
    return Links(Settings(**settings))


def test_a_name_cannot_be_guessed_and_says_the_type() -> None:
    kept = links()
    names = {kept.keep(b"a", "image/webp") for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) >= 43 and name.endswith(".webp") for name in names)
    assert kept.get("a.webp") is None


def test_a_picture_goes_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = links(url_keep_s=60)
    name, begun_s = kept.keep(b"a picture", "image/png"), time.monotonic()
    found = kept.get(name)
    assert found is not None
    assert (found.data, found.media_type) == (b"a picture", "image/png")
    monkeypatch.setattr(time, "monotonic", lambda: begun_s + 59)
    later = kept.keep(b"another", "image/png")
    assert kept.get(name) is not None
    monkeypatch.setattr(time, "monotonic", lambda: begun_s + 61)
    assert kept.get(name) is None
    assert kept.get(later) is not None


def test_the_oldest_go_first() -> None:
    kept = links(url_keep_mb=1)
    names = [kept.keep(bytes(400_000), "image/png") for _ in range(3)]
    assert [kept.get(name) is not None for name in names] == [False, True, True]
    large = kept.keep(bytes(2_000_000), "image/png")
    assert [kept.get(name) is not None for name in (*names, large)] == [False, False, False, True]
    small = kept.keep(b"small", "image/png")
    assert [kept.get(name) is not None for name in (large, small)] == [False, True]


@pytest.mark.parametrize(
    ("settings", "begin"),
    [({}, "https://pictures.test:8443/pictures/"), ({"public_url": "https://a.test/b/"}, "https://a.test/b/pictures/")],
)
def test_a_url(settings: dict[str, Any], begin: str) -> None:
    """As the client has asked, or as the settings say."""
    headers = [(b"host", b"pictures.test:8443")]
    request = Request({"type": "http", "scheme": "https", "path": "/v1", "query_string": b"", "headers": headers})
    picture = PictureFile(data=b"a", media_type="image/png", width_px=8, height_px=8, seed=1, warnings={}, spent_ms={})
    assert links(**settings).link(picture, request).startswith(begin)
