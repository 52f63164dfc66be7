"""The page's tabs for edits and refinements, and what a browser keeps from visit to visit."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.service.browser import PROMPT, Visit, run_curl
from tests.service.conftest import Open
from tests.service.server import Server
from tests.service.test_disconnect import wait_for
from tests.service.test_refine import a_picture, as_png

SIZE = (96, 64)
GREEN = "a green cube on top of a blue sphere, yellow background"
HAND_OVER = """
([type, data]) => {
  const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], "given.png", {type: "image/png"}));
  const options = {bubbles: true, cancelable: true, dataTransfer: files, clipboardData: files};
  const event = type === "paste" ? new ClipboardEvent(type, options) : new DragEvent(type, options);
  return !document.body.dispatchEvent(event);
}
"""


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A name that a shell would take for something else."""
    path = tmp_path_factory.mktemp("pictures") / "my 'best' $picture.png"
    path.write_bytes(as_png(a_picture().resize(SIZE)))
    return path


def choose(user: Visit, kind: str, picture: Path) -> None:
    user.page.click(f"#tab-{kind}")
    user.panel("input[type=file]", kind).set_input_files(picture)
    user.panel(".canvas", kind).wait_for()


def paint(user: Visit, *points: tuple[float, float]) -> None:
    """One stroke, through points in shares of the picture's sides."""
    canvas = user.panel("canvas", "edit")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    user.page.mouse.move(*at[0])
    user.page.mouse.down()
    for point in at:
        user.page.mouse.move(*point, steps=5)
    user.page.mouse.up()
    user.page.mouse.move(0, 0)  # without the brush's ring over it


def painted(user: Visit) -> NDArray[np.uint8]:
    """What of the mask is to be seen: its opacity, uint8 [height, width]."""
    data = "each => each.toDataURL().split(',')[1]"
    shown = Image.open(BytesIO(base64.b64decode(user.panel("canvas", "edit").evaluate(data))))
    return np.asarray(shown)[..., 3]


def test_an_edit_with_a_painted_mask(visit: Open, server: Server, picture: Path, tmp_path: Path) -> None:
    user = visit()
    choose(user, "edit", picture)
    strength = user.control("strength", "edit")
    assert strength.input_value() == "0.8"
    assert painted(user).shape == SIZE[::-1]
    paint(user, (0.1, 0.1), (0.1, 0.9))
    assert strength.input_value() == "0.9999"  # that of an edit with a mask
    before = painted(user)
    paint(user, (0.75, 0.25), (0.75, 0.75))
    assert painted(user).sum() > before.sum()
    user.page.keyboard.press("Control+z")
    assert np.array_equal(painted(user), before)
    user.panel(".clear", "edit").click()
    assert painted(user).sum() == 0
    assert strength.input_value() == "0.8"

    paint(user, (0.6, 0.4), (0.9, 0.4), (0.9, 0.6), (0.6, 0.6))
    user.fill("edit", prompt=GREEN, seed=3, num_inference_steps=12)
    user.make("edit")
    assert "s left" in " ".join(each[2] for each in user.page.evaluate("seen"))
    user.page.evaluate("document.querySelector('#picture details').open = true")
    mask = user.download("curl-mask")
    levels = np.asarray(Image.open(BytesIO(mask)).convert("L"))
    assert levels.shape == SIZE[::-1]
    assert (levels[26, 72], levels[5, 5]) == (255, 0)
    files = {"image": picture.read_bytes(), "mask": mask}
    fields = {"prompt": GREEN, "seed": 3, "num_inference_steps": 12}
    made = server.post("/edit", data=fields, files=files)
    assert user.download() == made.content
    assert user.text("side-before") == "before"
    assert np.array_equal(user.pixels("before"), np.asarray(Image.open(picture)))

    for name, content in (("mask.png", mask), ("my 'best' $picture.png", picture.read_bytes())):
        (tmp_path / name).write_bytes(content)
    assert run_curl(user.text("curl"), tmp_path) == made.content


def test_a_mask_by_the_keyboard(visit: Open, picture: Path) -> None:
    user = visit()
    choose(user, "edit", picture)
    canvas = user.panel("canvas", "edit")
    canvas.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        user.page.keyboard.press(key)
    user.page.keyboard.down(" ")
    user.page.keyboard.press("ArrowLeft")
    user.page.keyboard.up(" ")
    user.control("prompt", "edit").focus()
    rows, columns = np.nonzero(painted(user) > 200)
    assert (rows.min() < 32 + 6 < rows.max(), columns.min() < 48 + 6, columns.max() > 48 + 6) == (True, True, True)
    assert user.page.evaluate("scrollY") == 0


def test_pictures_are_dropped_pasted_and_passed_on(visit: Open, server: Server, picture: Path) -> None:
    user = visit()
    given = base64.b64encode(picture.read_bytes()).decode()
    for kind, event in (("edit", "drop"), ("refine", "paste")):
        user.page.click(f"#tab-{kind}")
        assert user.page.evaluate(HAND_OVER, [event, given])
        user.panel(".canvas", kind).wait_for()
        user.panel(".canvas img", kind).evaluate("each => each.decode()")
        assert user.panel(".canvas img", kind).evaluate("each => each.naturalWidth") == SIZE[0]
    user.page.click("#tab-generate")
    assert not user.page.evaluate(HAND_OVER, ["paste", given])

    user.fill(prompt=PROMPT, seed=4, num_inference_steps=6)
    user.make()
    made = user.download()
    user.page.click("#to-refine")
    user.until(lambda: user.control("prompt", "refine").input_value() == PROMPT)
    user.fill("refine", seed=4, num_inference_steps=10, strength=0.5)
    user.make("refine")
    fields = {"prompt": PROMPT, "seed": 4, "num_inference_steps": 10, "strength": 0.5}
    assert user.download() == server.post("/refine", data=fields, files={"image": made}).content

    user.page.click("#to-edit")
    user.until(lambda: user.control("prompt", "edit").input_value() == PROMPT)
    user.fill("edit", num_inference_steps=150, strength=1)
    user.start("edit")
    user.until(lambda: server.metric("sdxl_relay_jobs", stage="base") == 1)
    user.panel(".cancel", "edit").click()
    wait_for(lambda: server.metric("sdxl_relay_jobs") == 0, timeout_s=5)
    user.until(lambda: user.text("note").startswith("Cancelled. The picture below is the one before, with seed 4."))


def test_a_bad_picture(visit: Open, tmp_path: Path) -> None:
    user = visit()
    user.page.click("#tab-refine")
    user.fill("refine", prompt=PROMPT)
    user.start("refine")
    user.until(lambda: user.text("error") == "image: choose a picture first")
    (tmp_path / "no.png").write_bytes(b"no picture")
    choose(user, "refine", tmp_path / "no.png")
    user.start("refine")
    user.until(lambda: user.text("error").startswith("image: "))
    user.complaints.clear()  # of the browser's own, about the file and the answer


def test_a_browser_keeps_settings_and_the_last_pictures(visit: Open, picture: Path) -> None:
    user = visit()
    user.fill(prompt=PROMPT, seed=7, num_inference_steps=4, guidance_scale=2.5)
    user.control("scheduler").select_option("heun")
    user.control("watermark").set_checked(False)
    user.make()
    files = [user.download()]
    choose(user, "edit", picture)
    paint(user, (0.5, 0.5), (0.6, 0.6))
    user.fill("edit", prompt=GREEN, seed=8, num_inference_steps=8)
    user.make("edit")
    files.append(user.download())

    user.reload()
    assert user.page.locator("#panel-edit").is_visible()
    assert user.control("prompt", "edit").input_value() == GREEN
    assert user.download() == files[1]
    user.page.click("#tab-generate")
    kept: dict[str, Any] = {"prompt": PROMPT, "seed": "7", "num_inference_steps": "4", "guidance_scale": "2.5"}
    assert {name: user.control(name).input_value() for name in kept} == kept
    assert user.control("scheduler").input_value() == "heun"
    assert not user.control("watermark").is_checked()

    strip = user.page.locator("#strip button")
    assert strip.count() == 2
    user.panel(".reset").click()
    user.fill(prompt="another")
    strip.first.focus()
    user.page.keyboard.press("ArrowRight")
    user.page.keyboard.press("Enter")
    user.until(lambda: user.fact("Seed") == "7")
    assert user.download() == files[0]
    user.page.click("#use-settings")
    user.until(lambda: {name: user.control(name).input_value() for name in kept} == kept)
    assert not user.control("watermark").is_checked()
    strip.first.click()
    user.page.click("#use-settings")
    user.until(lambda: user.panel("canvas", "edit").is_visible() and painted(user).any())
    user.make("edit")
    assert user.download() == files[1]  # with the same picture and mask

    user.page.click("#clear-history")
    user.until(lambda: not user.page.locator("#history").is_visible())
    user.reload()
    assert strip.count() == 0
    assert user.text("idle") == "The picture will be here."


NOTHING_KEPT = """
Object.defineProperty(window, "indexedDB", {value: undefined});
Object.defineProperty(window, "localStorage", {get: () => { throw new Error("not allowed"); }});
"""


def test_what_a_browser_keeps_is_bounded_and_may_be_nothing(visit: Open) -> None:
    user = visit()
    kept = """async (megabytes) => {
      const { Pictures } = await import("./store.js");
      const pictures = await Pictures.open();
      const job = { kind: "generate", request: { prompt: "a" } };
      for (let seed = 0; seed < 40; seed++) {
        await pictures.add({ job, seed, file: new Blob([new Uint8Array(megabytes * 1e6)]), before: null });
      }
      const seeds = (await Pictures.open()).all.map((each) => each.seed);
      await pictures.clear();
      return seeds;
    }"""
    assert user.page.evaluate(kept, 0) == list(range(39, 9, -1))
    assert user.page.evaluate(kept, 9) == list(range(39, 28, -1))

    user.page.add_init_script(NOTHING_KEPT)
    user.reload()
    user.fill(prompt=PROMPT, num_inference_steps=4)
    user.make()
    assert user.page.locator("#strip button").count() == 1
    user.reload()
    assert user.page.locator("#strip button").count() == 0
