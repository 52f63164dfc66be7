"""A page of another origin in a real browser calls the server, as the guide says, and reads what it answers."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.conftest import NAMED_KEY, ORIGIN
from tests.service.browser import CHROMIUM, chromium
from tests.service.server import ROOT, Server

GUIDE = (ROOT / "docs" / "guides" / "keys-and-tls.md").read_text()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """One of ORIGIN, which is not on the network; its user lets it reach servers on this machine."""
    with chromium() as browser:
        opened = browser.new_context(permissions=["local-network-access"]).new_page()
        opened.route(
            f"{ORIGIN}/**", lambda route: route.fulfill(body="<title>A page</title>", content_type="text/html")
        )
        opened.goto(f"{ORIGIN}/")
        yield opened


def test_the_guides_page(guarded_server: Server, page: Page) -> None:
    found = re.search(r"```js\n(.*?)```", GUIDE, re.DOTALL)
    assert found is not None
    code = found[1].replace("http://127.0.0.1:3000", guarded_server.url).replace("console.log(", "return [").strip()
    code = code.replace("await answer.blob());", "(await answer.blob()).type];")
    seed, media_type = page.evaluate(f"async (key) => {{ {code} }}", NAMED_KEY[1])
    assert seed.isdecimal()
    assert media_type == "image/png"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/generate", {"content-type": "application/json"}, 401, "wrong_key"),
        ("/nothing", {"authorization": f"Bearer {NAMED_KEY[1]}"}, 404, "unknown_path"),
        ("/generate", {"authorization": f"Bearer {NAMED_KEY[1]}", "content-type": "text/plain"}, 415, None),
    ],
)
def test_it_can_read_what_is_wrong(
    guarded_server: Server, page: Page, path: str, headers: dict[str, str], status: int, code: str | None
) -> None:
    ask = """async ([url, headers]) => {
        const answer = await fetch(url, {method: "POST", headers, body: "{}"});
        return [answer.status, (await answer.json()).code, answer.headers.get("x-request-id")];
    }"""
    got = page.evaluate(ask, [f"{guarded_server.url}{path}", headers])
    assert got[:2] == [status, code or "unsupported_media_type"]
    assert got[2]


def test_without_the_setting_the_browser_refuses(server: Server, page: Page) -> None:
    ask = "url => fetch(url).then(() => 'read', error => error.name)"
    assert page.evaluate(ask, f"{server.url}/v1/models") == "TypeError"
