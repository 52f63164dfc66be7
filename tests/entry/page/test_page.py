"""The page's place in the server, what is served of it, and what it is told of the server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import httpx
import pytest

from entry.http.app import make_app
from entry.page.about import about, about_model
from entry.page.mount import FILES, add_page
from sdxl.config.settings import Settings
from sdxl.handoff.offer import OfferedModel
from sdxl.request.bounds import Bounds
from sdxl.request.settled import Card, Defaults
from tests.conftest import MINI

NAMES = sorted(path.name for path in FILES.iterdir())
OWN = Defaults.model_validate_json((MINI / "base" / "relay.json").read_bytes())


def offered(name: str, title: str | None = None, defaults: Defaults | None = None, **more: Any) -> OfferedModel:
    card = Card(name=title or name, defaults=defaults or Defaults())
    what: dict[str, Any] = {"fingerprint": name, "kind": "base", "schedule": "{}", "latent_scale": 1.0, "size_bytes": 1}
    return OfferedModel(name=name, file=name, card=card, **{**what, **more})


MODELS = {"base": [offered("mini", defaults=OWN)], "refiner": [offered("another", defaults=OWN, kind="refiner")]}


class Told:
    """A fleet of two models, and a refiner."""

    def models(self) -> Mapping[str, Sequence[OfferedModel]]:
        return {**MODELS, "base": [*MODELS["base"], offered("other", "The other")]}

    def loras(self) -> Mapping[str, Sequence[str]]:
        return {"base": ["pixel", "Ink"], "refiner": ["ink 2", "pixel"]}


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
    told = about(MODELS, {}, Settings())
    assert told["models"] == {"base": "mini", "refiner": "another", "refine": "another"}
    assert told["about"]["examples"][0] == "a red cube on top of a blue sphere, yellow background"
    defaults: dict[str, dict[str, Any]] = told["defaults"]
    assert defaults["generate"]["guidance_scale"] == 3.0
    assert [defaults[kind]["strength"] for kind in ("generate", "edit", "inpaint", "refine")] == [0.3, 0.8, 0.9999, 0.3]
    assert (defaults["edit"]["refine"], defaults["refine"]["guidance_scale"]) == ("ensemble", 1.0)
    assert not any({"prompt", "seed"} & each.keys() for each in defaults.values())


def test_before_a_model_is_there() -> None:
    told = about({}, {}, Settings.from_environment({"SDXL_API_KEYS": "k" * 16}))
    assert (told["models"], told["asks_for_keys"]) == ({}, True)
    assert told["defaults"]["generate"]["width"] == 1024
    assert [told["fields"]["generate"][name]["enum"] for name in ("model", "loras")] == [[], []]


def test_the_checkpoints_bounds_count() -> None:
    bounds = Bounds(num_inference_steps=(1, 4), scheduler=("euler",), schedule=("default", "karras"))
    own = OWN.model_copy(update={"num_inference_steps": 4, "bounds": bounds})
    models = {**MODELS, "base": [offered("fast", defaults=own), offered("any")]}
    narrow, wide = about_model(models, None, Settings()), about_model(models, "any", Settings())
    expected = {
        "num_inference_steps": {"minimum": 1, "maximum": 4},
        "scheduler": {"enum": ["euler"]},
        "schedule": {"enum": ["default", "karras"]},
    }
    assert narrow["bounds"] == {"generate": expected, "edit": expected, "refine": {}}
    assert wide["bounds"]["generate"] == {}
    fields = about(models, {}, Settings())["fields"]["generate"]
    assert fields["width"].items() >= {"minimum": 64, "maximum": 8192, "multipleOf": 8}.items()


def test_each_sampler_has_its_schedules() -> None:
    told = about(MODELS, {}, Settings())
    assert told["schedules"]["ddim"] == ("default", "sgm_uniform")
    assert told["schedules"].keys() == set(told["fields"]["generate"]["scheduler"]["enum"])
    assert told["labels"]["schedule"].keys() == set(told["fields"]["edit"]["schedule"]["enum"])
    assert told["labels"]["scheduler"]["dpmpp_2m"] == "DPM++ 2M"
    assert told["defaults"]["refine"]["schedule"] == "default"


def test_every_field_of_the_page_is_one_of_the_api() -> None:
    fields = about(MODELS, {}, Settings())["fields"]
    on_page = set(re.findall(r'data-field="(\w+)"', (FILES / "index.html").read_text()))
    assert len(on_page) > 12
    assert on_page <= set().union(*fields.values())


def test_what_is_special_to_a_model_comes_when_it_is_chosen() -> None:
    whole, other, gone = (get(f"/ui/server.json{query}").json() for query in ("", "?model=other", "?model=gone"))
    assert whole["fields"]["generate"]["model"].items() >= {"enum": ["mini", "other"], "default": "mini"}.items()
    assert whole["labels"]["model"] == {"mini": "mini", "other": "The other", "another": "another"}
    assert [told["models"]["base"] for told in (whole, other, gone)] == ["mini", "The other", "mini"]
    guidance = [told["defaults"]["generate"]["guidance_scale"] for told in (whole, other, gone)]
    assert guidance == [3.0, 5.0, 3.0]
    assert set(other) == {"models", "about", "bounds", "defaults"}, "not the fields, which are the same"


def test_each_kind_of_request_has_the_names_of_its_stages() -> None:
    fields = get("/ui/server.json").json()["fields"]
    assert [fields[kind]["model"]["enum"] for kind in ("edit", "refine")] == [["mini", "other"], ["another"]]
    assert fields["edit"]["refiner_model"].items() >= {"enum": ["", "another"], "default": ""}.items()
    assert "refiner_model" not in fields["refine"]
    assert [fields[kind]["loras"]["enum"] for kind in ("generate", "refine")] == [
        ["Ink", "ink 2", "pixel"],
        ["ink 2", "pixel"],
    ]


def test_models_of_one_title_are_told_apart_by_their_names() -> None:
    models = {"base": [offered("a", "Same"), offered("b", "Same"), offered("c", "Own")]}
    assert about(models, {}, Settings())["labels"]["model"] == {"a": "a", "b": "b", "c": "Own"}
    assert [about_model(models, name, Settings())["models"]["base"] for name in ("b", "c")] == ["b", "Own"]


def test_a_models_own_refiner() -> None:
    models = {
        "base": [offered("mini"), offered("alone", refiner="none"), offered("by b", refiner="b")],
        "refiner": [offered("a"), offered("b"), offered("alone")],
    }
    told = {name: about_model(models, name, Settings()) for name in ("mini", "alone", "by b")}
    assert [each["models"].get("refiner") for each in told.values()] == ["a", None, "b"]
    assert [each["models"]["refine"] for each in told.values()] == ["a", "alone", "a"]
    assert [each["defaults"]["edit"]["refine"] for each in told.values()] == ["ensemble", "none", "ensemble"]
    without = about(models, {}, Settings(refiner="none"))
    assert without["fields"]["generate"]["refine"]["enum"] == ["none"]
    assert without["defaults"]["generate"]["refine"] == "none"
