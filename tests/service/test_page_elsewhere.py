"""The page behind an API key or a proxy, before a busy server, and before one that cannot answer."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Route

from tests.conftest import KEYS
from tests.service.browser import PROMPT, Visit, run_curl
from tests.service.conftest import Open
from tests.service.server import Server
from tests.service.test_disconnect import SLOW


def test_behind_an_api_key(browser: Browser, guarded_server: Server, tmp_path: Path) -> None:
    """The browser asks for it once, and shows it to the API as well; the curl command leaves it to the shell.

    While others are at work, what is left counts the wait.
    """
    basic = {"username": "anybody", "password": KEYS[0]}
    user = Visit.to(browser, guarded_server.url, http_credentials=basic)
    user.fill(prompt=PROMPT, num_inference_steps=4)
    user.make()
    assert KEYS[0] not in user.text("curl")
    assert run_curl(user.text("curl"), tmp_path, SDXL_API_KEY=KEYS[0]) == user.download()

    with httpx.Client(headers={"authorization": f"Bearer {KEYS[0]}"}, timeout=60) as others:
        slow = {**SLOW, "num_inference_steps": 140}
        with (
            others.stream("POST", f"{guarded_server.url}/generate_stream", json=slow) as first,
            others.stream("POST", f"{guarded_server.url}/generate_stream", json=slow) as second,
        ):
            readers = [threading.Thread(target=lambda each=each: next(each.iter_text())) for each in (first, second)]
            for reader in readers:
                reader.start()
                reader.join()
            user.fill(**SLOW)
            user.start()
            user.until(
                lambda: user.text("status").startswith("waiting for the base: ") and "s left" in user.text("status")
            )
            user.page.keyboard.press("Escape")
    assert user.hosts == {guarded_server.url.removeprefix("http://")}
    user.page.context.close()


def test_behind_a_proxy_with_a_path_of_its_own(browser: Browser, server: Server) -> None:
    """At an address that the server does not know; and without https, where browsers give no clipboard."""

    def pass_on(route: Route) -> None:
        path = route.request.url.removeprefix("http://proxy.test/pictures")
        route.fulfill(response=route.fetch(url=f"{server.url}{path}"))

    context = browser.new_context()
    user = Visit(context.new_page())
    user.listen()
    context.route("http://proxy.test/pictures/**", pass_on)
    user.open("http://proxy.test/pictures")
    user.fill(prompt=PROMPT, num_inference_steps=4)
    user.make()
    user.page.evaluate("document.querySelector('#picture details').open = true")
    user.page.click("#copy")
    user.page.get_by_role("button", name="Copied").wait_for()
    assert "'http://proxy.test/pictures/generate'" in user.text("curl")
    assert user.hosts == {"proxy.test"}
    assert user.complaints == []
    context.close()


def test_a_server_that_is_not_ready_one_that_stops_and_one_that_is_gone(visit: Open, server: Server) -> None:
    """What the page says to the answers of one; that open pages keep no server from stopping, test_sigterm shows."""
    user = visit()
    told = httpx.get(f"{server.url}/ui/server.json").json()
    not_ready = {**told, "models": {}, "defaults": {**told["defaults"], "generate": {"width": 1024}}}
    user.page.route("**/server.json", lambda route: route.fulfill(json=not_ready), times=1)
    user.reload()
    assert user.text("model") == "The model is not ready yet."
    assert user.control("width").input_value() == "1024"
    user.until(lambda: user.text("model") == "Model: mini, base and refiner")
    assert user.control("width").input_value() == "128"

    user.fill(prompt=PROMPT, num_inference_steps=4)
    stopping = {"error": "the server is stopping", "code": "stopping"}
    user.page.route(
        "**/generate_stream",
        lambda route: route.fulfill(status=503, headers={"retry-after": "2"}, json=stopping),
    )
    user.start()
    user.until(lambda: user.text("error") == "the server is stopping; try again in 2 s")
    user.page.unroute("**/generate_stream")
    user.page.route("**/generate_stream", lambda route: route.abort())
    user.start()
    user.until(lambda: user.text("error") == "the connection to the server was lost")
    user.complaints.clear()  # of the browser's own, about these answers
