"""Folders of models in the layouts that people have."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdxl.catalog.entries import Catalog
from sdxl.config.settings import ConfigurationError
from tests.conftest import MINI
from tests.sdxl.catalog.shelves import CONFIGS, catalog, embedding, lora, put, put_folder, start

LAYOUTS = {
    "ComfyUI": ("checkpoints", "loras", "vae", "embeddings"),
    "AUTOMATIC1111": ("models/Stable-diffusion", "models/Lora", "models/VAE", "embeddings"),
    "AUTOMATIC1111's models": ("Stable-diffusion", "Lora", "VAE", "../embeddings"),
    "other cases": ("CheckPoints", "LORAS", "Vae", "Embeddings"),
    "ComfyUI itself": ("models/checkpoints", "models/loras", "models/vae", "models/embeddings"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(files: Path, models: Path, layout: str) -> None:
    checkpoints, loras, vae, embeddings = (models / folder for folder in LAYOUTS[layout])
    put(files / "base.safetensors", checkpoints / "dream.safetensors")
    put(files / "base.safetensors", checkpoints / "anime" / "Foo v1.5 (日本).safetensors")
    put(files / "refiner.safetensors", checkpoints / "sd_xl_refiner_1.0.safetensors")
    put_folder("base", checkpoints / "whole")
    put(MINI / "base/vae/diffusion_pytorch_model.safetensors", vae / "own.safetensors")
    (vae / "folder").mkdir()
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        put(MINI / "base" / "vae" / name, vae / "folder" / name)
    lora(loras / "styles" / "night.safetensors", ss_output_name="Night", ss_base_model_version="sdxl_base_v1-0")
    embedding(embeddings / "good.safetensors")
    (checkpoints / "dream.png").write_bytes(b"a preview")
    start(models, stages=("base", "refiner"))
    found = catalog(models)
    kinds = {name: model.kind for name, model in found.models.items()}
    assert kinds == {
        "anime/Foo v1.5 (日本)": "base",
        "dream": "base",
        "sd_xl_refiner_1.0": "refiner",
        "whole": "base",
    }
    assert list(found.vaes) == ["folder", "own"]
    assert list(found.loras) == ["styles/night"]
    (night,) = found.loras["styles/night"]
    assert night.metadata == {"title": "Night", "base_model": "sdxl_base_v1-0"}
    assert found.lora("styles/night", "base") == found.lora("styles/night", "refiner") == night
    assert found.lora("night", "base") is None
    assert list(found.embeddings) == ["good"]
    assert (found.default, found.refiner) == ("anime/Foo v1.5 (日本)", None)
    dream = found.models["dream"]
    assert Path(dream.reference) == checkpoints / "dream.safetensors"
    assert dream.config == CONFIGS["base_config"]
    assert found.models["sd_xl_refiner_1.0"].config == CONFIGS["refiner_config"]
    assert not found.faults


def test_links_are_followed_without_loops(files: Path, models: Path, tmp_path: Path) -> None:
    put(files / "base.safetensors", tmp_path / "elsewhere" / "far.safetensors")
    put(files / "base.safetensors", models / "checkpoints" / "near.safetensors")
    (models / "checkpoints" / "linked").symlink_to(tmp_path / "elsewhere")
    (models / "checkpoints" / "again").symlink_to(models / "checkpoints")
    (tmp_path / "elsewhere" / "back").symlink_to(models / "checkpoints")
    (models / "checkpoints" / "one.safetensors").symlink_to(files / "base.safetensors")
    (models / "checkpoints" / "gone.safetensors").symlink_to(tmp_path / "nothing")
    found = catalog(models)
    assert list(found.models) == ["linked/far", "near", "one"]
    assert found.faults == {"checkpoints/gone.safetensors": "it cannot be read: No such file or directory"}


def test_hidden_files_are_left_out(files: Path, models: Path) -> None:
    put(files / "base.safetensors", models / "checkpoints" / "a.safetensors")
    put(files / "base.safetensors", models / "checkpoints" / ".cache" / "b.safetensors")
    (models / "checkpoints" / "._a.safetensors").write_bytes(b"of macOS")
    assert list(catalog(models).models) == ["a"]
    assert not catalog(models).faults


def test_names_are_cleaned(files: Path, models: Path) -> None:
    base = files / "base.safetensors"
    for name in ("a:b<c>,d", "line\nfeed", "Ame\u0301lie [v2] & 'co' =1%", "x" * 201, " spaces "):
        put(base, models / "checkpoints" / f"{name}.safetensors")
    put(base, models / "checkpoints" / "a_b_c__d.safetensors")
    found = catalog(models)
    assert list(found.models) == ["Am\u00e9lie [v2] & 'co' =1%", "a_b_c__d", "line_feed", "spaces"]
    assert found.faults == {
        f"checkpoints/{'x' * 201}.safetensors": "its name has 201 characters; allowed: up to 200",
        "checkpoints/a_b_c__d.safetensors": "checkpoints/a:b<c>,d.safetensors has the same name, a_b_c__d",
    }


def test_fingerprints_tell_models_apart(files: Path, models: Path) -> None:
    base, path = (files / "base.safetensors").read_bytes(), models / "checkpoints" / "a.safetensors"
    path.parent.mkdir()

    def of(content: bytes) -> str:
        path.write_bytes(content)
        return catalog(models).models["a"].fingerprint

    own = of(base)
    assert len(own) == 64
    tuned = bytes(each ^ 1 if index > 1_000_000 else each for index, each in enumerate(base))
    assert of(tuned) != own
    assert of(base) == own
    path.rename(path.with_name("b.safetensors"))
    assert catalog(models).models["b"].fingerprint == own
    (models / "checkpoints" / "b.relay.json").write_text('{"num_inference_steps": 20}')
    assert catalog(models).models["b"].fingerprint != own


def test_todays_settings_are_a_catalog_of_one(files: Path, tmp_path: Path) -> None:
    mini = catalog()
    assert {name: (model.kind, model.refiner) for name, model in mini.models.items()} == {
        "mini": ("base", "mini/refiner"),
        "mini/refiner": ("refiner", None),
    }
    assert (mini.default, mini.refiner) == ("mini", "mini/refiner")
    alone = catalog(base=str(files / "base.safetensors"), preset="lcm", vae=str(MINI / "base" / "vae"))
    (own,) = alone.models.values()
    assert (own.name, own.refiner, own.preset, own.vae) == ("base", None, "lcm", str(MINI / "base" / "vae"))
    assert own.fingerprint != catalog(base=str(files / "base.safetensors")).models["base"].fingerprint
    start(base=str(files / "base.safetensors"))
    with pytest.raises(ConfigurationError, match=r"^SDXL_BASE=.*it is SDXL's refiner, which SDXL_REFINER takes"):
        start(base=str(files / "refiner.safetensors"))
    a, b = lora(tmp_path / "a.safetensors"), lora(tmp_path / "b.safetensors")
    halves = catalog(loras=f"one={a}", refiner_loras=f"one={b}")
    assert [(half.stage, half.path) for half in halves.loras["one"]] == [("base", a), ("refiner", b)]
    assert halves.lora("one", "refiner") == halves.loras["one"][1]


def test_models_that_are_not_on_this_machine() -> None:
    found: Catalog = catalog(base="name/model@v1", refiner="tag:v2")
    assert [(model.name, model.reference, model.kind) for model in found.models.values()] == [
        ("name/model@v1", "name/model@v1", "base"),
        ("tag_v2", "tag:v2", "refiner"),
    ]
    assert (
        found.models["name/model@v1"].fingerprint != catalog(base="name/model@v2").models["name/model@v2"].fingerprint
    )
