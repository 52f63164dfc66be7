"""The page on a server with several models: what is chosen, what follows it, and what a browser has kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.models_folder import CATALOG, ENVIRONMENT, write_folder
from tests.service.browser import PROMPT, Visit, run_curl
from tests.service.conftest import Open
from tests.service.server import ROOT, Server, serving
from tests.service.test_refine import a_picture, as_png

# Of "noise", so that it differs in all that may differ.
OWN = """
  noise:
    title: A storm
    description: It draws noise.
    examples: [a storm at sea]
    refiner: none
    defaults: {num_inference_steps: 4, bounds: {num_inference_steps: [2, 6], scheduler: [ddim, heun]}, scheduler: ddim}
"""
FOLDER = "changed/as a folder"
KEPT = (
    "([name, kept]) => localStorage.setItem(name, JSON.stringify({...JSON.parse(localStorage.getItem(name)), ...kept}))"
)
OPTIONS = "each => [...each.options].map((option) => [option.value, option.textContent])"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    write_folder(folder)
    (folder / "catalog.yaml").write_text(CATALOG + OWN)
    settings: dict[str, Any] = {
        **ENVIRONMENT,
        "SDXL_MODELS": folder,
        "SDXL_REFINER": ROOT / "checkpoints" / "mini" / "refiner",
    }
    with serving(tmp_path_factory.mktemp("home"), **settings) as made:
        yield made


def select(user: Visit, name: str, value: str, kind: str = "generate") -> None:
    """As a user does it, in a field that may be folded away."""
    user.fill(kind)
    user.control(name, kind).select_option(value)


def asked(user: Visit) -> dict[str, Any]:
    """The request of the picture that is shown, as the command line has it."""
    command = user.text("curl")
    request: dict[str, Any] = json.loads(command[command.index("-d '") + 4 : command.rindex("' -o")])
    return request


def test_what_follows_the_model(visit: Open, server: Server) -> None:
    user = visit()
    assert user.text("model") == "Model: mini v, refined by mini"
    names = user.control("model").evaluate(OPTIONS)
    assert [names[0], ["noise", "A storm"] in names, len(names)] == [["mini v", "mini v"], True, 6]
    select(user, "model", "noise")
    user.until(lambda: user.text("model") == "Model: A storm")
    steps = user.control("num_inference_steps")
    assert [steps.input_value(), steps.get_attribute("max")] == ["4", "6"]
    assert "2 to 6" in (user.panel("label[for=generate-num_inference_steps]").text_content() or "")
    assert [value for value, _ in user.control("scheduler").evaluate(OPTIONS)] == ["ddim", "heun"]
    assert user.control("scheduler").input_value() == "ddim"
    assert user.panel(".about .description").text_content() == "It draws noise."
    user.panel(".examples button").click()
    user.fill(seed=3)
    user.make()
    assert asked(user) == {"prompt": "a storm at sea", "model": "noise", "seed": 3}
    assert user.download() == server.post("/generate", json=asked(user)).content
    assert user.fact("Model") == "noise"

    select(user, "model", "mini v")
    user.until(lambda: user.text("model") == "Model: mini v, refined by mini")
    assert [steps.input_value(), steps.get_attribute("max")] == ["30", "150"]
    user.fill(prompt=PROMPT, num_inference_steps=4)
    user.make()
    assert asked(user) == {"prompt": PROMPT, "num_inference_steps": 4, "seed": 3}, "the default is not named"


def test_who_refines(visit: Open, server: Server) -> None:
    user = visit()
    select(user, "model", "noise")
    user.until(lambda: user.control("refine").input_value() == "none")
    select(user, "model", "mini v")
    user.until(lambda: user.control("refine").input_value() == "ensemble")
    select(user, "refiner_model", "swapped")
    assert user.text("model") == "Model: mini v, refined by Red is blue"
    user.fill(prompt=PROMPT, num_inference_steps=5, seed=2)
    user.make()
    assert asked(user)["refiner_model"] == "swapped"
    assert user.download() == server.post("/generate", json=asked(user)).content
    assert (user.fact("Model"), user.fact("Refined by")) == ("mini v", "swapped")
    others = server.post("/generate", json={**asked(user), "refiner_model": "mini"})
    assert user.download() != others.content

    user.page.click("#tab-refine")
    assert user.text("model") == "Model: mini"
    select(user, "model", "swapped", "refine")
    user.until(lambda: user.text("model") == "Model: Red is blue")


def test_loras_with_their_scales(visit: Open, server: Server, tmp_path: Path) -> None:
    user = visit()
    loras = user.control("loras")
    assert len(loras.evaluate(OPTIONS)) == 11
    for name in ("style 1", "kohya_2", "style 3"):
        select(user, "loras", name)
    assert len(loras.evaluate(OPTIONS)) == 8
    user.panel(".loras label:has-text('kohya_2') input").fill("-0.5")
    user.panel("button[aria-label='Without style 3']").click()
    user.fill(prompt=PROMPT, num_inference_steps=4, seed=1)
    user.make()
    expected = [{"name": "style 1", "scale": 1}, {"name": "kohya_2", "scale": -0.5}]
    assert asked(user)["loras"] == expected
    made = user.download()
    assert made == server.post("/generate", json=asked(user)).content
    assert made != server.post("/generate", json={**asked(user), "loras": []}).content

    user.panel(".reset").click()
    assert user.panel(".loras li").count() == 0
    user.page.click("#use-settings")
    user.until(lambda: user.panel(".loras li").count() == 2)
    assert user.panel(".loras input").nth(1).input_value() == "-0.5"
    user.panel(".loras input").nth(1).fill("5")
    user.start()
    user.until(lambda: user.text("error").startswith("loras.1.scale"))
    assert user.page.locator("[aria-invalid=true]").get_attribute("data-lora") == "kohya_2"

    picture = tmp_path / "given.png"
    picture.write_bytes(as_png(a_picture()))
    user.page.click("#tab-edit")
    user.panel("input[type=file]", "edit").set_input_files(picture)
    select(user, "loras", "style 1", "edit")
    user.fill("edit", prompt=PROMPT, num_inference_steps=4)
    user.make("edit")
    assert run_curl(user.text("curl"), tmp_path) == user.download()


def test_eight_loras_are_the_most(visit: Open) -> None:
    user = visit()
    for name in [f"style {seed}" for seed in range(5)] + [f"kohya_{seed}" for seed in range(3)]:
        select(user, "loras", name)
    assert not user.control("loras").is_visible()
    user.panel("button[aria-label='Without style 0']").click()
    assert user.control("loras").is_visible()


def test_what_was_kept_counts_for_its_model(visit: Open) -> None:
    user = visit()
    select(user, "model", "noise")
    user.until(lambda: user.control("num_inference_steps").input_value() == "4")
    user.fill(prompt=PROMPT, num_inference_steps=6)
    user.control("scheduler").select_option("heun")
    user.page.click("#tab-edit")
    select(user, "model", FOLDER, "edit")
    user.reload()
    assert user.control("model", "edit").input_value() == FOLDER
    user.page.click("#tab-generate")
    kept = {name: user.control(name).input_value() for name in ("model", "num_inference_steps", "scheduler")}
    assert kept == {"model": "noise", "num_inference_steps": "6", "scheduler": "heun"}
    assert user.panel(".gone").text_content() == ""


def test_what_was_kept_and_has_gone(visit: Open) -> None:
    user = visit()
    user.fill(prompt=PROMPT)
    loras = [{"name": "style 9", "scale": 1}, {"name": "style 1", "scale": 0.5}]
    kept = {"prompt": PROMPT, "model": "old v1", "loras": loras, "num_inference_steps": 5, "seed": 1}
    user.page.evaluate(KEPT, ["sdxl-relay /", {"generate": kept}])
    user.reload()
    gone = "No longer on this server: old v1 (model), style 9 (loras). The defaults count instead."
    assert sorted((user.panel(".gone").text_content() or "").split()) == sorted(gone.split())
    assert user.control("model").input_value() == "mini v"
    user.fill()
    user.make()
    expected = {"prompt": PROMPT, "num_inference_steps": 5, "seed": 1, "loras": loras[1:]}
    assert asked(user) == expected
    assert user.panel(".gone").text_content() == ""
    user.reload()
    assert user.panel(".gone").text_content() == ""


def test_schedules_follow_the_sampler(visit: Open) -> None:
    user = visit()

    def schedules() -> list[str]:
        return [value for value, _ in user.control("schedule").evaluate(OPTIONS)]

    assert schedules()[:2] == ["default", "karras"]
    select(user, "schedule", "karras")
    select(user, "scheduler", "dpmpp_2m")
    assert user.control("schedule").input_value() == "karras"
    user.fill(prompt="a cone", seed=3, num_inference_steps=4)
    user.make()
    assert asked(user).items() >= {"scheduler": "dpmpp_2m", "schedule": "karras"}.items()
    select(user, "scheduler", "ddim")
    assert schedules() == ["default", "sgm_uniform"]
    assert user.control("schedule").input_value() == "default"
    user.page.click("#use-settings")
    user.until(lambda: user.control("schedule").input_value() == "karras")
    assert user.control("scheduler").input_value() == "dpmpp_2m"
