"""The API's page at /docs in a real browser: "Try it out" works for JSON and forms, and the page asks nobody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Route

from tests.service.browser import PIXELS, Visit
from tests.service.server import Server
from tests.service.test_refine import a_picture, as_png


def tried(user: Visit, path: str, file: Path | None = None, **fields: Any) -> Locator:
    """Sends what the page offers, with these fields filled in, and gives the answer."""
    block = user.page.locator(f".opblock-post:has([data-path='{path}'])")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    for name, value in fields.items():
        block.locator(f"[data-property-name={name}] input").first.fill(str(value))
    if file:
        block.locator("[data-property-name=image] input[type=file]").set_input_files(file)
    block.get_by_role("button", name="Execute").press(
        "Enter"
    )  # a click waits for frames, which a busy machine withholds
    answer = block.locator(".live-responses-table")
    answer.wait_for()
    return answer


def test_trying_it_out(browser: Browser, server: Server, tmp_path: Path) -> None:
    user = Visit(browser.new_page())
    user.listen()
    user.page.goto(server.url)
    assert user.page.url == f"{server.url}/docs"
    user.page.wait_for_selector(".opblock")
    (tmp_path / "a.png").write_bytes(as_png(a_picture()))

    made = tried(user, "/generate").locator("img")
    assert made.evaluate(PIXELS)["width"] == 128
    for path, fields in (
        ("/refine", {"num_inference_steps": 8}),
        ("/edit", {"num_inference_steps": 8, "seed": 5}),
    ):
        answer = tried(user, path, tmp_path / "a.png", **fields)
        assert answer.locator("img").evaluate(PIXELS)["height"] == 64
    assert "x-seed: 5" in answer.inner_text()
    for path, fields in (("/provenance", {}), ("/v1/images/edits", {"num_inference_steps": 8})):
        answer = tried(user, path, tmp_path / "a.png", **fields)
        assert answer.locator("tbody .response-col_status").inner_text() == "200"
    assert user.hosts == {urlsplit(server.url).netloc}
    assert user.complaints == []
    user.page.close()


def test_the_page_asks_nobody_else_wherever_it_is(browser: Browser, server: Server) -> None:
    """Behind a proxy with a path, too. On other hosts, some layouts of Swagger ask a server to judge the document."""

    def pass_on(route: Route) -> None:
        path = route.request.url.removeprefix("http://proxy.test/pictures")
        route.fulfill(response=route.fetch(url=f"{server.url}{path}"))

    user = Visit(browser.new_page())
    user.listen()
    user.page.route("http://proxy.test/pictures/**", pass_on)
    user.page.goto("http://proxy.test/pictures/docs")
    user.page.wait_for_selector(".opblock")
    user.page.wait_for_timeout(500)
    assert user.hosts == {"proxy.test"}
    assert user.complaints == []
    user.page.close()


@pytest.mark.parametrize("path", ["/edit", "/refine", "/provenance", "/v1/images/edits"])
def test_a_forms_description(server: Server, path: str) -> None:
    """By which other tools fill in forms, too."""
    document = httpx.get(f"{server.url}/docs.json").json()
    assert document["info"]["version"] != "None"
    assert "security" not in document  # this server has no keys, so the page shows no locks
    (form,) = document["paths"][path]["post"]["requestBody"]["content"].values()
    assert "encoding" not in form
    schema = form["schema"]
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    fields = schema["properties"]
    assert fields["image"]["type"] == "string"
    assert fields["image"]["format"] == "binary"
    assert not [name for name, field in fields.items() if "default" in field and field["default"] is None]
