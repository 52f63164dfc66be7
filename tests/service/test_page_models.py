"""The page before a server of many models: a choice of model, of what refines, and of LoRAs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser

from tests.service.browser import PROMPT, Visit, run_curl
from tests.service.server import Server

STORED = "([key, kept]) => localStorage.setItem(key, JSON.stringify(kept))"


@pytest.fixture
def user(browser: Browser, many: Server) -> Iterator[Visit]:
    visit = Visit.to(browser, many.url)
    yield visit
    assert visit.hosts == {urlsplit(many.url).netloc}
    assert visit.complaints == []
    visit.page.context.close()


def names_of(user: Visit, control: str, kind: str = "generate") -> list[str]:
    return user.control(control, kind).locator("option").all_text_contents()


def test_another_model_has_its_own_defaults_and_makes_the_picture(user: Visit, many: Server, tmp_path: Path) -> None:
    assert user.text("model") == "Model: mini, base and refiner"
    assert names_of(user, "model")[0] == "mini v"
    assert "mini refiner" not in names_of(user, "model")
    assert names_of(user, "model", "refine")[0] == "mini refiner"
    steps, guidance = user.control("num_inference_steps"), user.control("guidance_scale")
    assert (guidance.input_value(), steps.get_attribute("max")) == ("3", "150")
    user.control("model").select_option("swapped")
    user.until(lambda: guidance.input_value() == "4")
    assert user.text("model") == "Model: Red is blue, refined by mini"
    assert (steps.get_attribute("max"), user.text("generate-num_inference_steps-bounds")) == ("50", "1 to 50")
    assert user.panel(".examples button").all_text_contents() == ["a blue cube, white background"]
    user.fill(prompt=PROMPT, seed=5, num_inference_steps=6)
    user.make()
    request = {"prompt": PROMPT, "seed": 5, "num_inference_steps": 6, "model": "swapped"}
    assert user.download() == many.post("/generate", json=request).content
    assert user.fact("Model") == "swapped, refined by mini refiner"
    assert run_curl(user.text("curl"), tmp_path) == user.download()

    user.reload()
    assert user.control("model").input_value() == "swapped"
    user.until(lambda: guidance.input_value() == "4")
    user.panel(".reset").click()
    user.until(lambda: guidance.input_value() == "3")
    user.fill(seed=5, num_inference_steps=6)
    user.make()
    assert "model" not in user.text("curl")
    assert user.fact("Model") == "mini v, refined by mini refiner"
    user.control("model").select_option("noise")
    user.page.click("#use-settings")
    assert user.control("model").input_value() == "mini v"


def test_what_refines_is_a_choice(user: Visit, many: Server) -> None:
    user.fill(prompt=PROMPT, seed=5, num_inference_steps=6)
    assert names_of(user, "refiner_model")[0] == "the model's own"
    user.control("refiner_model").select_option("swapped")
    user.until(lambda: user.text("model") == "Model: mini, refined by Red is blue")
    user.make()
    assert user.fact("Model") == "mini v, refined by swapped"
    request = {"prompt": PROMPT, "seed": 5, "num_inference_steps": 6, "refiner_model": "swapped"}
    assert user.download() == many.post("/generate", json=request).content


def test_loras_with_their_scales(user: Visit, many: Server, tmp_path: Path) -> None:
    user.fill(prompt=PROMPT, seed=5, num_inference_steps=6)
    user.control("loras").select_option("style 1")
    user.control("loras").select_option("kohya_2")
    assert not {"style 1", "kohya_2"} & set(names_of(user, "loras"))
    user.page.get_by_label("Scale of style 1").fill("-0.5")
    user.make()
    loras = [{"name": "style 1", "scale": -0.5}, {"name": "kohya_2", "scale": 1}]
    request = {"prompt": PROMPT, "seed": 5, "num_inference_steps": 6, "loras": loras}
    assert user.download() == many.post("/generate", json=request).content

    user.page.get_by_label("Remove kohya_2").click()
    assert "kohya_2" in names_of(user, "loras")
    user.page.get_by_label("Scale of style 1").fill("")
    user.start()
    user.until(lambda: user.text("error") == "loras: got what is not a number; allowed: scales from -4 to 4")
    user.page.get_by_label("Scale of style 1").fill("0.25")
    user.reload()
    assert user.page.get_by_label("Scale of style 1").input_value() == "0.25"
    user.page.click("#to-edit")
    user.until(lambda: user.panel(".canvas", "edit").is_visible())
    user.control("loras", "edit").select_option("style 0")
    user.fill("edit", num_inference_steps=4, seed=1)
    user.make("edit")
    made = user.download()
    user.page.evaluate("document.querySelector('#picture details').open = true")
    (tmp_path / "files").mkdir()
    picture = user.download("curl-image")
    name = user.page.locator("#curl-image").get_attribute("download")
    (tmp_path / "files" / (name or "")).write_bytes(picture)
    assert run_curl(user.text("curl").replace(" -o ", " -o made-"), tmp_path / "files") == made


def test_what_is_kept_but_gone_is_said(user: Visit) -> None:
    key = user.page.evaluate("`sdxl-relay ${new URL('../', document.baseURI).pathname}`")
    kept = {
        "generate": {"prompt": PROMPT, "model": "left", "loras": [{"name": "old"}, {"name": "style 0", "scale": 2}]}
    }
    user.page.evaluate(STORED, [key, kept])
    user.reload()
    assert user.text("note").startswith("model: left is not there any more. loras: old is not there any more.")
    assert user.control("model").input_value() == "mini v"
    assert user.page.get_by_label("Scale of style 0").input_value() == "2"
    assert user.control("prompt").input_value() == PROMPT
