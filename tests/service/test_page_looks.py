"""The page at the width of a desk and of a telephone, light and dark: readable, named, and within the screen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.browser import PROMPT
from tests.service.conftest import Open

# [contrast, text] of each text that can be seen, of each placeholder, and the contrast of each field's border.
CONTRASTS = """
() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = numbers(colour).map((level) => level / 255)
      .map((share) => (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const ground = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return (numbers(colour)[3] ?? 1) === 0 && element.parentElement ? ground(element.parentElement) : colour;
  };
  const found = {texts: [], placeholders: [], borders: []};
  for (const element of document.body.querySelectorAll("*")) {
    if (!element.checkVisibility() || element.closest(".unseen")) continue;
    const own = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
    const style = getComputedStyle(element);
    if (own.length) found.texts.push([contrast(style.color, ground(element)), own[0].data.trim()]);
    if (element.placeholder) {
      const { color } = getComputedStyle(element, "::placeholder");
      found.placeholders.push([contrast(color, ground(element)), element.name]);
    }
    if (element.matches("textarea, select, input:is([type=number], [type=text])")) {
      found.borders.push([contrast(style.borderColor, ground(element.parentElement)), element.name]);
    }
  }
  return found;
}
"""
NAMELESS = """
() => [...document.querySelectorAll("input, textarea, button, select, canvas, a")]
  .filter((each) => each.checkVisibility() && !each.labels?.length && !each.ariaLabel)
  .filter((each) => !each.textContent.trim() && !each.querySelector("img[alt]"))
  .map((each) => each.outerHTML)
"""
WRONG_IDS = """
() => {
  const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
  const named = ["describedby", "controls", "labelledby", "errormessage"].map((name) => `aria-${name}`)
    .flatMap((name) => [...document.querySelectorAll(`[${name}]`)].map((each) => each.getAttribute(name)));
  return [...ids.filter((id, at) => ids.indexOf(id) !== at), ...named.filter((id) => id && !ids.includes(id))];
}
"""


def check(page: Any, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(NAMELESS) == []
    contrasts = page.evaluate(CONTRASTS)
    assert min(contrasts["texts"])[0] >= 4.5, min(contrasts["texts"])
    for kind, least in (("placeholders", 4.5), ("borders", 3)):
        assert min(contrasts[kind], default=[99])[0] >= least, min(contrasts[kind])


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_looks(visit: Open, width: int, scheme: str) -> None:
    user = visit(
        viewport={"width": width, "height": 844}, color_scheme=scheme, has_touch=width == 390, reduced_motion="reduce"
    )
    page = user.page
    check(page, width)
    assert page.evaluate("getComputedStyle(document.querySelector('button')).transitionDuration") == "0s"
    assert page.evaluate(WRONG_IDS) == []
    assert user.panel(".settings > .grid").is_visible() == (width == 1280)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(246, 247, 249)") == (scheme == "light")

    user.fill(prompt=PROMPT, num_inference_steps=30)
    user.start()
    user.until(lambda: float(page.locator("#bar").evaluate("each => each.value")) > 0.2)
    check(page, width)
    assert page.locator("#preview").evaluate("each => each.getBoundingClientRect().top < innerHeight")
    (cancel,) = [each for each in page.locator(".cancel").all() if each.is_visible()]
    assert cancel.evaluate("each => each.getBoundingClientRect().bottom <= innerHeight")
    user.wait_for_picture()
    page.evaluate("document.querySelector('#picture details').open = true")
    check(page, width)
    user.fill(num_inference_steps=0)
    user.start()
    user.until(lambda: user.text("error"))
    check(page, width)
    for kind in ("edit", "refine"):
        page.click(f"#tab-{kind}")
        check(page, width)
        page.click(f"#to-{kind}")
        user.panel(".canvas", kind).wait_for()
        user.fill(kind)
        check(page, width)


def test_tabs_by_the_keyboard(visit: Open) -> None:
    user = visit()
    user.page.focus("#tab-generate")
    for key, kind in (("ArrowRight", "edit"), ("End", "refine"), ("Home", "generate")):
        user.page.keyboard.press(key)
        assert user.page.locator("[role=tabpanel]:visible").get_attribute("id") == f"panel-{kind}"
        assert user.page.locator("[role=tab][aria-selected=true]").get_attribute("id") == f"tab-{kind}"
        assert user.page.locator("[role=tab][tabindex='0']").count() == 1
    user.page.keyboard.press("Tab")
    assert user.control("prompt").evaluate("each => each === document.activeElement")
    assert user.control("prompt").evaluate("each => getComputedStyle(each).outlineStyle") == "solid"
