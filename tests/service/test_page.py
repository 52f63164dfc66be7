"""The page /ui in a real browser, before the real server."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, Route

from tests.conftest import KEYS
from tests.service.browser import CHROMIUM, PROMPT, Visit, chromium
from tests.service.server import Server
from tests.service.test_disconnect import SLOW, wait_for

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine: see CONTRIBUTING.md")
NASTY = "it's \"a\" $HOME `red` cube\n über ☃ 🎨 !x \\ \\n 'end"
REFUSED = "Failed to load resource: the server responded with a status of 400 (Bad Request)"
Open = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Open]:
    """Opens the page. It must ask nobody but the server, and leave nothing on the browser's console."""
    with ExitStack() as after:

        def opened(**options: Any) -> Visit:
            visit = Visit.to(browser, server.url, **options)
            after.callback(visit.page.context.close)
            after.callback(check, visit)
            return visit

        def check(visit: Visit) -> None:
            assert visit.hosts == {urlsplit(server.url).netloc}
            assert [each for each in visit.complaints if each != REFUSED] == []

        yield opened


def test_a_picture_with_its_progress(visit: Open, server: Server) -> None:
    request: dict[str, Any] = {"prompt": PROMPT, "seed": 5, "num_inference_steps": 20}
    user = visit()
    user.fill(**request)
    user.generate()
    user.wait_for("single")
    assert user.download() == server.post("/generate", json=request).content
    assert "5" in user.text("facts")
    assert "refiner" in user.text("facts")
    assert not user.page.locator("#relay-slider").is_visible()

    working = [each for each in user.page.evaluate("seen") if each[0] == "working"]
    bars = [each[1] for each in working]
    assert bars == sorted(bars)
    assert len(set(bars)) > 5
    texts = " ".join(each[2] for each in working)
    assert "base: step" in texts
    assert "refiner: step" in texts
    assert "s left" in texts
    assert max(each[3] for each in working) > 3  # previews, before the picture
    assert PROMPT not in server.log.read_text()


def test_the_base_alone_beside_it(visit: Open, server: Server) -> None:
    request: dict[str, Any] = {"prompt": PROMPT, "seed": 6, "num_inference_steps": 12}
    user = visit()
    user.fill(compares=True, **request)
    user.generate()
    user.wait_for("compared")
    for shown, fields in zip(user.pictures(), ({"refine": "none"}, {}), strict=True):
        # Rows that share a tick may differ by a rounding.
        assert np.abs(shown.astype(int) - server.generate(**request, **fields)).max() <= 2
    assert user.page.locator("#relay-slider").is_visible()
    assert user.page.locator("#field-seed textarea, #field-seed input").input_value() == "6"


def test_each_picture_has_another_seed_unless_asked_otherwise(visit: Open) -> None:
    user = visit()
    user.fill(prompt=PROMPT, num_inference_steps=4)
    seeds = []
    for _ in range(2):
        user.generate()
        user.wait_for("single")
        seeds.append(user.page.locator("#relay-facts dd").first.text_content())
    assert seeds[0] != seeds[1]


@pytest.mark.parametrize(
    ("field", "value"), [("num_inference_steps", 151), ("width", "wide"), ("strength", 0), ("prompt", " ")]
)
def test_a_bad_value_is_shown_at_its_field_as_the_api_says_it(
    visit: Open, server: Server, field: str, value: int | str
) -> None:
    wrong_request: dict[str, Any] = {"prompt": PROMPT, field: value}
    user = visit()
    user.page.get_by_text("More settings").click()
    user.fill(**wrong_request)
    user.page.get_by_text("More settings").click()
    user.generate()
    user.page.wait_for_selector("#relay-error:not(:empty)")
    answer = server.post("/generate", json=wrong_request)
    assert (answer.status_code, user.text("error")) == (400, answer.json()["error"])
    wrong = user.page.locator("[aria-invalid=true]")
    wrong.wait_for(state="visible")
    assert wrong.input_value() == str(value)
    assert user.page.locator(".relay-wrong").get_attribute("id") == f"field-{field}"

    mended: dict[str, Any] = {field: "", "prompt": PROMPT, "num_inference_steps": 4}
    user.fill(**mended)
    user.generate()
    user.wait_for("single")
    assert user.text("error") == ""
    assert wrong.count() == 0


def test_cancel_frees_the_work_of_one_user_alone(visit: Open, server: Server) -> None:
    def cancelled() -> float:
        return server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled")

    before = cancelled()
    user, other = visit(), visit()
    user.fill(compares=True, **SLOW)
    other.fill(prompt=PROMPT, num_inference_steps=40)
    user.generate()
    other.generate()
    wait_for(lambda: server.metric("sdxl_relay_jobs", stage="base") == 3)
    user.page.click("#relay-cancel")
    wait_for(lambda: cancelled() == before + 2)
    assert user.text("idle") == "Cancelled."
    other.wait_for("single")
    assert server.metric("sdxl_relay_jobs") == 0
    assert cancelled() == before + 2


def test_leaving_the_page_frees_the_work(visit: Open, server: Server) -> None:
    user = visit()
    user.fill(**SLOW)
    user.generate()
    wait_for(lambda: server.metric("sdxl_relay_jobs", stage="base") == 1)
    user.page.reload()
    wait_for(lambda: server.metric("sdxl_relay_jobs") == 0, timeout_s=5)


@pytest.mark.parametrize("prompt", [PROMPT, NASTY])
def test_the_copied_curl_command_makes_the_same_picture(visit: Open, tmp_path: Path, prompt: str) -> None:
    user = visit(permissions=["clipboard-read", "clipboard-write"])
    user.fill(prompt=prompt, num_inference_steps=4)
    user.generate()
    user.wait_for("single")
    user.page.click("#relay-copy")
    user.page.get_by_text("Copied").wait_for()
    command = user.page.evaluate("navigator.clipboard.readText()")
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (made,) = tmp_path.iterdir()
    assert made.suffix == ".png"
    assert made.read_bytes() == user.download()


def test_behind_an_api_key(browser: Browser, guarded_server: Server, tmp_path: Path) -> None:
    """The browser asks for it once, and shows it to the API as well; the curl command leaves it to the shell."""
    user = Visit.to(browser, guarded_server.url, http_credentials={"username": "anybody", "password": KEYS[0]})
    user.fill(prompt=PROMPT, num_inference_steps=4)
    user.generate()
    user.wait_for("single")
    command = user.text("curl")
    assert KEYS[0] not in command
    environment = {**os.environ, "SDXL_API_KEY": KEYS[0]}
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    (made,) = tmp_path.iterdir()
    assert made.read_bytes() == user.download()
    user.page.context.close()


def test_behind_a_proxy_with_a_path_of_its_own(browser: Browser, server: Server) -> None:
    """At an address that the server does not know; and without https, where browsers give no clipboard."""

    def pass_on(route: Route) -> None:
        path = route.request.url.removeprefix("http://proxy.test/pictures")
        route.fulfill(response=route.fetch(url=f"{server.url}{path}"))

    context = browser.new_context()
    user = Visit(context.new_page())
    user.page.on("request", user._note)
    context.route("http://proxy.test/pictures/**", pass_on)
    user.open("http://proxy.test/pictures")
    user.fill(prompt=PROMPT, num_inference_steps=4)
    user.generate()
    user.wait_for("single")
    user.page.click("#relay-copy")
    user.page.get_by_text("Copied").wait_for()
    assert "'http://proxy.test/pictures/generate'" in user.text("curl")
    assert user.hosts == {"proxy.test"}
    context.close()


def test_a_telephone(visit: Open) -> None:
    user = visit(viewport={"width": 390, "height": 844})
    user.page.get_by_text("More settings").click()
    assert user.page.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = "each => !each.labels?.length && !each.ariaLabel && !each.textContent.trim()"
    controls = "[...document.querySelectorAll('#relay-page :is(input, textarea, button, select)')]"
    visible = "each => each.checkVisibility()"
    assert user.page.evaluate(f"{controls}.filter({visible}).filter({nameless}).map(each => each.outerHTML)") == []


def test_nothing_is_kept_on_disk(visit: Open) -> None:
    def kept() -> set[Path]:
        return {path for path in (Path(tempfile.gettempdir()) / "gradio").rglob("*") if path.is_file()}

    before = kept()
    user = visit()
    user.fill(prompt=PROMPT, num_inference_steps=4)
    user.generate()
    user.wait_for("single")
    assert kept() <= before


def test_a_server_that_stops_and_one_that_is_gone(visit: Open) -> None:
    """What the page says to the answers of one; that open pages keep no server from stopping, test_sigterm shows."""
    user = visit()
    user.fill(prompt=PROMPT, num_inference_steps=4)
    stopping = {"error": "the server is stopping", "code": "stopping"}
    user.page.route(
        "**/generate_stream",
        lambda route: route.fulfill(status=503, headers={"retry-after": "2"}, json=stopping),
    )
    user.generate()
    user.page.wait_for_selector("#relay-error:not(:empty)")
    assert user.text("error") == "the server is stopping; try again in 2 s"
    user.page.unroute("**/generate_stream")
    user.page.route("**/generate_stream", lambda route: route.abort())
    user.generate()
    user.page.get_by_text("the connection to the server was lost").wait_for()
    user.complaints.clear()  # of the browser's own, about these answers
