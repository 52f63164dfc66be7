"""What catalog.yaml says, and what is said of its errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdxl.config.settings import ConfigurationError
from sdxl.request.loras import Lora
from tests.conftest import MINI
from tests.sdxl.catalog.shelves import catalog, lora, put, settings, start

WHOLE = f"""
default: anime/dream
refiner: refine
models:
  anime/dream:
    title: A dream
    description: It dreams.
    examples: [a castle, a cat]
    vae: own
    preset: turbo
    distilled: loras/detail.safetensors
    config: {MINI / "refiner"}
    defaults: {{num_inference_steps: 3, about: {{name: another}}}}
    loras: [{{name: detail, scale: 0.5}}]
    resident: always
  plain: {{refiner: none}}
  from-hub: {{checkpoint: stabilityai/stable-diffusion-xl-base-1.0@main, refiner: far-refiner}}
  far-refiner: {{checkpoint: somebody/refiner}}
  near: {{checkpoint: other/near.safetensors}}
"""


@pytest.fixture
def shelf(files: Path, models: Path) -> Path:
    for name in ("checkpoints/anime/dream", "checkpoints/plain", "checkpoints/rest", "other/near", "vae/own"):
        put(files / "base.safetensors", models / f"{name}.safetensors")
    put(files / "refiner.safetensors", models / "checkpoints" / "refine.safetensors")
    lora(models / "loras" / "detail.safetensors")
    return models


def test_everything_that_it_may_say(shelf: Path) -> None:
    (shelf / "catalog.yaml").write_text(WHOLE)
    start(shelf, stages=("base", "refiner"))
    found = catalog(shelf)
    assert not found.faults
    assert (found.default, found.refiner) == ("anime/dream", "refine")
    assert {name: (model.kind, model.refiner) for name, model in found.models.items()} == {
        "anime/dream": ("base", "refine"),
        "far-refiner": ("refiner", None),
        "from-hub": ("base", "far-refiner"),
        "near": ("base", "refine"),
        "plain": ("base", None),
        "refine": ("refiner", None),
        "rest": ("base", "refine"),
    }
    dream = found.models["anime/dream"]
    assert dream.vae == str(shelf / "vae" / "own.safetensors")
    assert dream.distilled == str(shelf / "loras" / "detail.safetensors")
    assert (dream.preset, dream.config, dream.is_pinned) == ("turbo", str(MINI / "refiner"), True)
    assert dream.loras == (Lora(name="detail", scale=0.5),)
    about = {"name": "A dream", "description": "It dreams.", "examples": ("a castle", "a cat")}
    assert dream.defaults == {"num_inference_steps": 3, "about": about}
    assert dream.fingerprint != found.models["rest"].fingerprint == found.models["plain"].fingerprint
    assert found.models["from-hub"].reference == "stabilityai/stable-diffusion-xl-base-1.0@main"
    assert found.models["near"].reference == str(shelf / "other" / "near.safetensors")
    assert not found.models["rest"].defaults


def test_it_may_name_everything(shelf: Path) -> None:
    file = shelf / "own.yaml"
    file.write_text("models: {b: {checkpoint: checkpoints/plain.safetensors}, a: {checkpoint: some/model}}")
    found = catalog(catalog=str(file))
    assert list(found.models) == ["a", "b"]
    assert found.default == "a"
    both = catalog(shelf, catalog=str(file))
    assert {"a", "b", "plain", "rest"} <= both.models.keys()


ERRORS = {
    "models: {plain: {preset: tubo}}": "models.plain.preset: got \"tubo\"; allowed: 'turbo', 'lightning' or 'lcm'",
    "models: {plain: {titel: x}}": "models.plain.titel: there is no such field; there are title, description, examples",
    "modls: {}": "modls: there is no such field; there are default, refiner, models",
    "models: {plain: 3}": "models.plain: got 3; allowed: fields with their values",
    "- a": 'got ["a"]; allowed: fields with their values',
    "models: [": "line 1: expected the node content, but found '<stream end>'",
    "models:\n\tplain: {}": "line 2: found character '\\t' that cannot start any token",
    "a: !!python/object/apply:os.system [x]": "line 1: could not determine a constructor for the tag",
    "a: &a [*a]": "it is not YAML that can be read: Circular reference detected",
    "a: .nan": "it is not YAML that can be read: Out of range float values are not JSON compliant",
    "\0": "it is not YAML that can be read: unacceptable character",
    "models: {plain: {defaults: {num_inference_steps: 0}}}": "models.plain.defaults.num_inference_steps: got 0",
    "models: {plain: {loras: [{name: detail, scale: 9}]}}": "models.plain.loras.0.scale: got 9",
    "models: {plain: {distilled: a/b}}": "models.plain: distilled needs preset, which says what kind of model it is",
    "models: {plain: {resident: yes}}": "models.plain.resident: got true; allowed: 'by_need' or 'always'",
    "models: {'a:b': {checkpoint: a/b}}": 'models.a:b: got "a:b"; allowed: a name without < > : ,',
    f"models: {{{'x' * 201}: {{checkpoint: a/b}}}}": f"models.{'x' * 201}: got a text of 201 characters; allowed: a",
    "models: {other: {}}": "models.other: there is no file other; there are anime/dream, plain, refine, rest;",
    "models: {plian: {}}": "models.plian: there is no file plian; did you mean plain?; checkpoint names one that is",
    "models: {x: {checkpoint: /no/where}}": "models.x.checkpoint: /no/where: no checkpoint there; allowed: a folder",
    "models: {plain: {vae: gone.safetensors}}": "models.plain.vae: gone.safetensors: no checkpoint there",
    "models: {plain: {config: gone}}": "models.plain.config: gone: no checkpoint there",
    "models: {plain: {refiner: refined}}": "models.plain.refiner: there is no model refined; did you mean refine?",
    "models: {plain: {loras: [{name: detial}]}}": "models.plain.loras: there is no LoRA detial; did you mean detail?",
    "default: plian": "default: there is no model plian; did you mean plain?",
    "default: none": "default: there is no model none",
    "refiner: gone": "refiner: there is no model gone; there are anime/dream, plain, refine, rest",
    "default: 1.5": "default: got 1.5; allowed: a valid string",
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_name_the_field(shelf: Path, text: str) -> None:
    (shelf / "catalog.yaml").write_text(text)
    for use in (start, catalog):
        with pytest.raises(ConfigurationError) as raised:
            use(shelf)
        assert str(raised.value).startswith(f"catalog.yaml: {ERRORS[text]}")
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "models:", "models: {plain: }", "# nothing"])
def test_it_may_say_nothing(shelf: Path, text: str) -> None:
    (shelf / "catalog.yaml").write_text(text)
    start(shelf)
    assert catalog(shelf).models["plain"].refiner is None


def test_a_model_takes_the_name_of_a_file(shelf: Path) -> None:
    (shelf / "catalog.yaml").write_text("models: {plain: {checkpoint: some/model}}")
    found = catalog(shelf)
    assert found.models["plain"].reference == "some/model"
    assert found.faults == {
        "checkpoints/plain.safetensors": "catalog.yaml has another model of the name plain",
    }


def test_what_a_model_needs_must_be_whole(shelf: Path) -> None:
    lora(shelf / "vae" / "wrong.safetensors")
    (shelf / "loras" / "cut.safetensors").write_bytes(b"")
    (shelf / "catalog.yaml").write_text("models: {plain: {vae: wrong}, rest: {loras: [{name: cut}]}}")
    found = catalog(shelf)
    assert "plain" not in found.models
    assert "rest" not in found.models
    assert found.missing.keys() == {"plain", "rest", "cut"}
    assert "its vae" in found.faults["checkpoints/plain.safetensors"]
    assert "it is a LoRA" in found.faults["checkpoints/plain.safetensors"]
    assert found.faults["checkpoints/rest.safetensors"] == "its LoRA cut cannot be loaded"


def test_stages_are_not_mixed_up(shelf: Path) -> None:
    (shelf / "catalog.yaml").write_text("default: refine")
    said = "refine is SDXL's refiner; a base is needed"
    with pytest.raises(ConfigurationError, match=rf"^SDXL_MODELS={shelf}: {said}$"):
        start(shelf, stages=("base", "refiner"))
    assert catalog(shelf).faults == {"catalog.yaml: default": said}


def test_any_model_can_refine(shelf: Path) -> None:
    (shelf / "catalog.yaml").write_text("refiner: plain\nmodels: {plain: {refiner: rest}}")
    start(shelf, stages=("base", "refiner"))
    found = catalog(shelf)
    assert found.faults == {}
    assert found.refiner == "plain"
    assert {name: model.refiner for name, model in found.models.items() if model.kind == "base"} == {
        "anime/dream": "plain",
        "plain": "rest",
        "rest": "plain",
    }


def test_the_settings_name_models(files: Path, shelf: Path) -> None:
    named = catalog(shelf, base="plain", refiner="refine", preset="lcm", vae=str(MINI / "base" / "vae"))
    assert (named.default, named.refiner) == ("plain", "refine")
    assert (named.models["plain"].preset, named.models["plain"].refiner) == ("lcm", "refine")
    assert (named.models["rest"].preset, named.models["rest"].refiner) == (None, "refine")
    same = catalog(shelf, base=str(shelf / "checkpoints" / "plain.safetensors"))
    assert (same.default, list(same.models)) == ("plain", ["anime/dream", "plain", "refine", "rest"])
    more = catalog(shelf, base=str(files / "base.safetensors"), refiner=str(MINI / "refiner"))
    assert (more.default, more.refiner) == ("base", "mini")
    assert more.models["base"].refiner == more.models["rest"].refiner == "mini"
    (shelf / "catalog.yaml").write_text("default: rest\nrefiner: refine\nmodels: {plain: {refiner: refine}}")
    none = catalog(shelf, base="anime/dream", refiner="none")
    assert (none.default, none.refiner) == ("anime/dream", None)
    assert (none.models["rest"].refiner, none.models["plain"].refiner) == (None, "refine")
    for use in (start, catalog):
        with pytest.raises(ConfigurationError) as raised:
            use(shelf, base="plian")
        assert str(raised.value) == ("SDXL_BASE=plian: there is no checkpoint and no model plian; did you mean plain?")


def test_the_settings_loras_are_added(shelf: Path, tmp_path: Path) -> None:
    path = lora(tmp_path / "x.safetensors")
    found = catalog(shelf, loras=f"mine={path},detail={path}")
    assert {name: [file.stage for file in files] for name, files in found.loras.items()} == {
        "detail": ["base"],
        "mine": ["base"],
    }
    assert found.faults == {"loras/detail.safetensors": "the settings have another LoRA of the name detail"}
    elsewhere = settings(shelf, base_url="http://a:1", loras="mine=/not/here.safetensors")
    assert elsewhere.loras.keys() == {"mine"}
    assert list(catalog(shelf, base_url="http://a:1", loras="mine=/not/here.safetensors").loras) == ["detail", "mine"]


def test_a_folder_without_any_base(files: Path, models: Path) -> None:
    with pytest.raises(ConfigurationError, match="no model that can be the base; its models are looked for in checkp"):
        start(models)
    put(files / "refiner.safetensors", models / "checkpoints" / "refine.safetensors")
    start(models, stages=("refiner",))
    assert catalog(models).default == ""
    (models / "checkpoints" / "cut.safetensors").write_bytes(b"")
    said = rf"^SDXL_MODELS={models}: there is no model that can be the base; checkpoints/cut.safetensors: it is empty"
    with pytest.raises(ConfigurationError, match=said):
        start(models)
    (models / "catalog.yaml").write_text("default: cut")
    with pytest.raises(ConfigurationError, match=r"^checkpoints/cut.safetensors: it is empty; download it again$"):
        start(models)
