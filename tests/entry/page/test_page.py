"""The page's place in the server, what is served of it, and what it is told of the server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import pytest

from entry.http.app import make_app
from entry.page.about import about
from entry.page.mount import FILES, add_page
from sdxl.config.settings import Settings
from sdxl.request.bounds import Bounds
from sdxl.request.settled import Card, Defaults
from tests.conftest import MINI

NAMES = sorted(path.name for path in FILES.iterdir())
OWN = Defaults.model_validate_json((MINI / "base" / "relay.json").read_bytes())
CARDS = {"base": Card(name="mini", defaults=OWN), "refiner": Card(name="another", defaults=OWN)}


class Told:
    """A fleet of two models, and a refiner."""

    def cards(self, named: Mapping[str, str | None]) -> Mapping[str, Card]:
        return {**CARDS, "base": Card(name=str(named["base"]), defaults=Defaults())} if named["base"] else CARDS

    def names(self) -> Mapping[str, list[str]]:
        return {"base": ["mini", "other"], "refiner": ["another"]}

    def lora_names(self) -> Mapping[str, list[str]]:
        return {"base": ["detail"], "refiner": []}


def get(path: str, settings: Settings | None = None, method: str = "GET") -> httpx.Response:
    async def ask() -> httpx.Response:
        app = make_app(partial(add_page, settings=settings or Settings(), fleet=Told()))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            return await client.request(method, path)

    return asyncio.run(ask())


@pytest.mark.parametrize("path", ["/ui/", "/ui/main.js", "/ui/server.json"])
def test_turned_off(path: str) -> None:
    answer = get(path, Settings(ui=False))
    assert answer.status_code == 404
    assert "SDXL_UI" in answer.json()["error"]


def test_the_way_to_the_page_is_relative() -> None:
    answer = get("/ui")
    assert (answer.status_code, answer.headers["location"]) == (307, "ui/")


@pytest.mark.parametrize("path", ["", "server.json", *NAMES])
def test_what_is_served_may_ask_nobody_else(path: str) -> None:
    answer = get(f"/ui/{path}")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'self'; img-src 'self' blob: data:;")
    assert set(re.findall(r"https?://[^\s\"']+", answer.text)) <= {"http://www.w3.org/2000/svg"}
    assert get(f"/ui/{path}", method="HEAD").headers["content-type"] == answer.headers["content-type"]


@pytest.mark.parametrize("path", ["nothing.js", "../about.py", "%2e%2e/about.py", "..%2fabout.py", "//etc/hostname"])
def test_nothing_else_is_served(path: str) -> None:
    assert get(f"/ui/{path}").status_code == 404


@pytest.mark.parametrize("path", ["", "main.js"])
def test_nothing_can_be_sent(path: str) -> None:
    assert get(f"/ui/{path}", method="POST").status_code == 404


def test_the_defaults_are_those_that_count() -> None:
    told = about(CARDS, {}, {}, Settings())
    assert told["models"] == {"base": "mini", "refiner": "another"}
    assert told["about"]["examples"][0] == "a red cube on top of a blue sphere, yellow background"
    defaults: dict[str, dict[str, Any]] = told["defaults"]
    assert defaults["generate"]["guidance_scale"] == 3.0
    assert [defaults[kind]["strength"] for kind in ("generate", "edit", "inpaint", "refine")] == [0.3, 0.8, 0.9999, 0.3]
    assert (defaults["edit"]["refine"], defaults["refine"]["guidance_scale"]) == ("ensemble", 1.0)
    assert not any({"prompt", "seed"} & each.keys() for each in defaults.values())
    before_it_is_ready = about({}, {}, {}, Settings.from_environment({"SDXL_API_KEYS": "k" * 16}))
    assert (before_it_is_ready["models"], before_it_is_ready["asks_for_keys"]) == ({}, True)
    assert before_it_is_ready["defaults"]["generate"]["width"] == 1024


def test_the_checkpoints_bounds_count() -> None:
    bounds = Bounds(num_inference_steps=(1, 4), scheduler=("euler",))
    own = OWN.model_copy(update={"num_inference_steps": 4, "bounds": bounds})
    narrow = about({**CARDS, "base": Card(name="fast", defaults=own)}, {}, {}, Settings())["fields"]
    wide = about(CARDS, {}, {}, Settings())["fields"]
    assert (narrow["edit"]["num_inference_steps"]["maximum"], narrow["edit"]["scheduler"]["enum"]) == (4, ["euler"])
    assert narrow["refine"] == wide["refine"]
    assert wide["generate"]["width"].items() >= {"minimum": 64, "maximum": 8192, "multipleOf": 8}.items()


def test_every_field_of_the_page_is_one_of_the_api() -> None:
    models = {"base": ["a", "b"], "refiner": ["a", "b"]}
    fields = about(CARDS, models, {"base": ["detail"]}, Settings())["fields"]
    on_page = set(re.findall(r'data-field="(\w+)"', (FILES / "index.html").read_text()))
    assert len(on_page) > 12
    assert on_page <= set().union(*fields.values())


def test_another_models_defaults_come_when_it_is_chosen() -> None:
    first, other = get("/ui/server.json").json(), get("/ui/server.json?base=other").json()
    assert first["fields"]["generate"]["model"]["enum"] == ["mini", "other"]
    assert first["fields"]["generate"]["model"]["default"] == "mini"
    assert (first["models"]["base"], other["models"]["base"]) == ("mini", "other")
    assert [told["defaults"]["generate"]["guidance_scale"] for told in (first, other)] == [3.0, 5.0]


def test_what_there_is_no_choice_of_is_left_out() -> None:
    one = about(CARDS, {"base": ["mini"], "refiner": ["another"]}, {}, Settings())
    assert all({"model", "refiner_model"}.isdisjoint(fields) for fields in one["fields"].values())
    several = about(CARDS, {"base": ["mini"], "refiner": ["another", "mini"]}, {}, Settings())
    assert several["fields"]["edit"]["refiner_model"]["enum"] == ["", "another", "mini"]
    assert several["fields"]["refine"]["model"]["enum"] == ["another", "mini"]
    assert "model" not in several["fields"]["generate"]


def test_loras_are_offered_where_a_stage_applies_them() -> None:
    told = about(CARDS, {}, {"base": ["b", "A"], "refiner": ["c", "b"]}, Settings())["fields"]
    assert [told[kind]["loras"]["names"] for kind in ("generate", "edit", "refine")] == [
        ["A", "b", "c"], ["A", "b", "c"], ["b", "c"],
    ]  # fmt: skip
    assert told["generate"]["loras"]["maxItems"] == 8
    none = about(CARDS, {}, {"base": [], "refiner": []}, Settings())["fields"]
    assert all("loras" not in fields for fields in none.values())
