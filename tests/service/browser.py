"""A real browser for the tests of the pages: Chromium, without a window."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.service.test_disconnect import wait_for

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROMPT = "a red cube on top of a blue sphere, yellow background"
# Notes each change of what is shown: [what is to be seen, the bar, the text, the preview].
WATCH = """
() => {
  window.seen = [];
  const [show, bar, text, preview] = ["show", "bar", "status", "preview"].map((id) => document.getElementById(id));
  const note = () => seen.push([show.dataset.state, bar.value, text.textContent, preview.getAttribute("src")]);
  new MutationObserver(note).observe(document.body, {attributes: true, subtree: true, childList: true});
}
"""
PIXELS = """
async (image) => {
  await image.decode();
  const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const {data, width, height} = context.getImageData(0, 0, canvas.width, canvas.height);
  return {data: Array.from(data), width, height};
}
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser that the machine has; Playwright's own would have to be downloaded."""
    with sync_playwright() as playwright:
        # Without a sandbox of its own, which needs another user than root; it visits only the server under test.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """One user's open page."""

    page: Page
    hosts: set[str] = field(default_factory=set)  # that the page has asked for something
    complaints: list[str] = field(default_factory=list)  # on the browser's console

    @classmethod
    def to(cls, browser: Browser, url: str, **options: Any) -> Visit:
        visit = cls(browser.new_context(accept_downloads=True, **options).new_page())
        visit.listen()
        visit.open(url)
        return visit

    def listen(self) -> None:
        self.page.set_default_timeout(60_000)
        self.page.on("request", self._note)
        self.page.on(
            "console", lambda message: self.complaints.append(message.text) if message.type == "error" else None
        )
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _note(self, request: Any) -> None:
        if urlsplit(request.url).scheme not in ("blob", "data"):
            self.hosts.add(urlsplit(request.url).netloc)

    def open(self, url: str) -> None:
        """The page of the server that is at `url`."""
        self.page.goto(f"{url}/ui/")
        self.page.wait_for_selector("body[data-ready]")

    def reload(self) -> None:
        self.page.reload()
        self.page.wait_for_selector("body[data-ready]")

    def panel(self, selector: str, kind: str = "generate") -> Locator:
        return self.page.locator(f"#panel-{kind} {selector}")

    def control(self, name: str, kind: str = "generate") -> Locator:
        """A field by its name in the API."""
        return self.page.locator(f"#{kind}-{name}")

    def fill(self, kind: str = "generate", *, compares: bool = False, **fields: object) -> None:
        self.page.evaluate("document.querySelectorAll('form details').forEach((each) => (each.open = true))")
        if kind == "generate":
            self.page.set_checked("#compares", compares)
        for name, value in fields.items():
            self.control(name, kind).fill(str(value))

    def start(self, kind: str = "generate") -> None:
        self.page.evaluate(WATCH)
        self.panel(".primary", kind).click()

    def until(self, condition: Callable[[], object]) -> None:
        """With the browser's events handled meanwhile; its own waiting would need eval, which the page forbids."""

        def is_so() -> bool:
            self.page.wait_for_timeout(20)
            return bool(condition())

        wait_for(is_so)

    def wait_for_picture(self) -> None:
        """Until it is there, or a fault is."""
        self.until(lambda: self.state != "working")
        assert (self.text("error"), self.text("note"), self.state) == ("", "", "picture")

    def make(self, kind: str = "generate") -> None:
        self.start(kind)
        self.wait_for_picture()

    @property
    def state(self) -> str | None:
        return self.page.locator("#show").get_attribute("data-state")

    def text(self, name: str) -> str:
        return self.page.locator(f"#{name}").text_content() or ""

    def fact(self, term: str) -> str:
        return self.page.locator(f"#facts dt:text-is('{term}') + dd").text_content() or ""

    def download(self, name: str = "download") -> bytes:
        with self.page.expect_download() as download:
            self.page.click(f"#{name}")
        return download.value.path().read_bytes()

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """Of a picture on the page; uint8 [height, width, 3]."""
        found = self.page.locator(f"#{name}").evaluate(PIXELS)
        return np.array(found["data"], np.uint8).reshape(found["height"], found["width"], 4)[..., :3]


def run_curl(command: str, folder: Path, **environment: str) -> bytes:
    """Runs a copied command; the one file that it has made."""
    before = set(folder.iterdir())
    variables = {**os.environ, **environment}
    subprocess.run(["bash", "-c", command], cwd=folder, env=variables, check=True, capture_output=True, timeout=60)
    (made,) = set(folder.iterdir()) - before
    return made.read_bytes()
