"""A real browser for the tests of the page: Chromium, without a window."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PROMPT = "a red cube on top of a blue sphere, yellow background"
# Notes each change of what is shown: [what is to be seen, the bar, the text, previews so far].
WATCH = """
() => {
  window.seen = [];
  const [bar, text, preview] = ["bar", "status", "preview"].map((name) => document.getElementById(`relay-${name}`));
  const previews = () => Number(preview.dataset.count ?? 0);
  const note = () => seen.push([document.body.dataset.relay, bar.value, text.textContent, previews()]);
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
        context = browser.new_context(accept_downloads=True, **options)
        context.set_default_timeout(60_000)
        visit = cls(context.new_page())
        visit.page.on("request", visit._note)
        visit.page.on(
            "console", lambda message: visit.complaints.append(message.text) if message.type == "error" else None
        )
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        visit.open(url)
        return visit

    def open(self, url: str) -> None:
        self.page.goto(f"{url}/ui/", timeout=60_000)
        self.page.wait_for_selector("#relay-generate", timeout=60_000)

    def _note(self, request: Any) -> None:
        if urlsplit(request.url).scheme not in ("blob", "data"):
            self.hosts.add(urlsplit(request.url).netloc)

    def fill(self, *, compares: bool = False, **fields: object) -> None:
        """Fields by their names in the API."""
        self.page.get_by_label("Compare with base alone").set_checked(compares)
        self.page.get_by_label("New seed each time").set_checked("seed" not in fields)
        for name, value in fields.items():
            self.page.locator(f"#field-{name}").locator("input, textarea").fill(str(value))

    def generate(self) -> None:
        self.page.evaluate(WATCH)
        self.page.click("#relay-generate")

    def wait_for(self, state: str) -> None:
        """Until that is to be seen, or a fault is."""
        self.page.wait_for_function(
            "state => document.body.dataset.relay === state || document.getElementById('relay-error').textContent",
            arg=state,
            timeout=60_000,
        )
        assert (self.text("error"), self.page.evaluate("document.body.dataset.relay")) == ("", state)

    def text(self, name: str) -> str:
        return self.page.locator(f"#relay-{name}").text_content() or ""

    def download(self) -> bytes:
        with self.page.expect_download() as download:
            self.page.click("#relay-download")
        return download.value.path().read_bytes()

    def pictures(self) -> list[NDArray[np.uint8]]:
        """Under the slider, the base's first; uint8 [height, width, 3]."""
        self.page.wait_for_function("() => document.querySelectorAll('#relay-slider img').length === 2")
        images = [image.evaluate(PIXELS) for image in self.page.locator("#relay-slider img").all()]
        return [np.array(each["data"], np.uint8).reshape(each["height"], each["width"], 4)[..., :3] for each in images]
