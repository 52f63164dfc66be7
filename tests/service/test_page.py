"""The page /ui in a real browser, before the real server: one picture from a prompt, and what may go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.service.browser import PROMPT, run_curl
from tests.service.conftest import Open
from tests.service.server import Server
from tests.service.test_disconnect import SLOW, wait_for

NASTY = "it's \"a\" $HOME `red` cube\n über ☃ 🎨 !x \\ \\n 'end"


def test_a_picture_with_its_progress(visit: Open, server: Server) -> None:
    request: dict[str, Any] = {"prompt": PROMPT, "seed": 5, "num_inference_steps": 20}
    user = visit()
    assert user.text("model") == "Model: mini, base and refiner"
    assert user.control("num_inference_steps").input_value() == "30"
    assert user.control("guidance_scale").input_value() == "3"
    user.panel(f".examples button:text-is('{PROMPT}')").click()
    user.fill(seed=5, num_inference_steps=20)
    user.make()
    assert user.download() == server.post("/generate", json=request).content
    assert user.fact("Seed") == "5"
    assert user.control("seed").input_value() == "5"  # a typed seed stays, and counts
    assert "refiner" in user.fact("Time")

    working = [each for each in user.page.evaluate("seen") if each[0] == "working"]
    bars = [each[1] for each in working]
    assert bars == sorted(bars)
    assert len(set(bars)) > 5
    texts = " ".join(each[2] for each in working)
    assert "base: step" in texts
    assert "refiner: step" in texts
    assert "s left" in texts
    assert len({each[3] for each in working}) > 3  # previews, before the picture
    assert PROMPT not in server.log.read_text()

    seeds = []
    for _ in range(2):
        user.panel(".random-seed").click()
        user.make()
        seeds.append(user.fact("Seed"))
    assert len({"5", *seeds}) == 3
    user.panel(".last-seed").click()
    assert user.control("seed").input_value() == seeds[-1]


def test_the_base_alone_beside_it_under_a_divider(visit: Open, server: Server) -> None:
    request: dict[str, Any] = {"prompt": PROMPT, "seed": 6, "num_inference_steps": 12, "guidance_scale": 4}
    user = visit()
    user.fill(compares=True, **request)
    user.make()
    # The refiner's guidance is what the page shows, the checkpoint's own, and not what the API would take with a 4.
    for name, fields in (("before", {"refine": "none"}), ("after", {"refiner_guidance_scale": 1})):
        # Rows that share a tick may differ by a rounding.
        assert np.abs(user.pixels(name).astype(int) - server.generate(**request, **fields)).max() <= 2
    visible = "getComputedStyle(document.getElementById('after')).clipPath"
    assert user.page.evaluate(visible) == "inset(0px 0px 0px 50%)"
    user.page.focus("#divider")
    for key, share in (("ArrowRight", "51%"), ("Home", "0%"), ("End", "100%")):
        user.page.keyboard.press(key)
        assert share in f"{user.page.evaluate(visible)} 0%"
    box = user.page.locator("#divider").bounding_box()
    assert box
    user.page.mouse.click(box["x"] + box["width"] / 4, box["y"] + 20)
    assert abs(int(user.page.locator("#divider").input_value()) - 25) <= 1


def test_keys(visit: Open) -> None:
    user = visit()
    user.fill(prompt="", num_inference_steps=4)
    prompt = user.control("prompt")
    prompt.focus()
    for keys, focused in (("Enter", "prompt"), ("Control+Enter", "prompt"), ("Enter", "num_inference_steps"),
                          ("Control+Enter", "scheduler")):  # fmt: skip
        prompt.fill("a green cone")
        user.control(focused).focus()
        user.page.evaluate("document.getElementById('facts').replaceChildren()")
        user.page.keyboard.press(keys)
        user.until(lambda: user.text("facts"))
        assert user.fact("Prompt") == "a green cone"
    prompt.focus()
    user.page.keyboard.press("End")
    user.page.keyboard.press("Shift+Enter")
    user.page.keyboard.type("white background")
    assert prompt.input_value() == "a green cone\nwhite background"
    assert user.state == "picture"


def test_a_bad_value_is_shown_at_its_field_as_the_api_says_it(visit: Open, server: Server) -> None:
    user = visit()
    fold = "open => document.querySelectorAll('form details').forEach((each) => (each.open = open))"
    cases: dict[str, Any] = {"num_inference_steps": 151, "strength": 0, "seed": -1, "prompt": " "}
    for field, value in cases.items():
        wrong: dict[str, Any] = {"prompt": PROMPT, field: value}
        user.panel(".reset").click()
        user.fill(**wrong)
        user.page.evaluate(fold, False)
        user.start()
        user.until(lambda: user.state != "working")
        answer = server.post("/generate", json=wrong)
        assert (answer.status_code, user.text("error")) == (400, answer.json()["error"])
        assert user.text("note") == "No picture was made. There is no picture yet."
        at_fault = user.page.locator("[aria-invalid=true]")
        assert at_fault.get_attribute("name") == field
        assert at_fault.is_visible()
        assert at_fault.evaluate("each => each === document.activeElement")
        user.page.evaluate(fold, True)
    user.panel(".reset").click()
    user.fill(prompt=PROMPT)
    user.control("width").press_sequentially("e")  # a number's field takes it, and then says nothing
    user.start()
    user.until(lambda: user.text("error").startswith("width: got what is not a number; allowed: 64 to 8,192, step 8"))

    user.panel(".reset").click()
    user.fill(num_inference_steps=4)
    user.make()
    assert user.page.locator("[aria-invalid]").count() == 0


def test_cancel_frees_the_work_of_one_user_alone_and_so_does_leaving(visit: Open, server: Server) -> None:
    def cancelled() -> float:
        return server.metric("sdxl_relay_jobs_ended_total", outcome="cancelled")

    before = cancelled()
    user, other = visit(), visit()
    user.fill(prompt=PROMPT, num_inference_steps=4, seed=8)
    user.make()
    user.fill(compares=True, **{**SLOW, "seed": 9})
    other.fill(prompt=PROMPT, num_inference_steps=40)
    user.start()
    other.start()
    user.until(lambda: server.metric("sdxl_relay_jobs", stage="base") == 3)
    user.page.keyboard.press("Escape")
    user.until(lambda: user.state != "working")
    assert user.text("note") == "Cancelled. The picture below is the one before, with seed 8."
    assert (user.fact("Seed"), user.text("error")) == ("8", "")
    user.until(lambda: cancelled() == before + 2)
    other.wait_for_picture()
    assert server.metric("sdxl_relay_jobs") == 0
    assert cancelled() == before + 2

    for leave in (user.panel(".cancel").click, user.page.reload):
        user.fill(**SLOW)
        user.start()
        user.until(lambda: server.metric("sdxl_relay_jobs", stage="base") == 1)
        leave()
        wait_for(lambda: server.metric("sdxl_relay_jobs") == 0, timeout_s=5)
        if leave != user.page.reload:
            assert user.panel(".primary").evaluate("each => each === document.activeElement")


def test_the_copied_curl_command_makes_the_same_picture(visit: Open, tmp_path: Path) -> None:
    user = visit(permissions=["clipboard-read", "clipboard-write"])
    for prompt in (PROMPT, NASTY):
        user.fill(prompt=prompt, num_inference_steps=4)
        user.make()
        user.page.evaluate("document.querySelector('#picture details').open = true")
        user.page.click("#copy")
        user.page.get_by_role("button", name="Copied").wait_for()
        assert run_curl(user.page.evaluate("navigator.clipboard.readText()"), tmp_path) == user.download()
