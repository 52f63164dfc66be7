"""Every form of checkpoint gives the weights of the mini checkpoint, whose tensors are all exact in halves."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, get_args

import huggingface_hub.constants
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from sdxl.config.references import UnusableFile
from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.models.checkpoint import Checkpoint
from sdxl.models.weights import PIPELINES
from tests.conftest import MINI
from tests.loading import load_stage
from tests.sdxl.models.original_layout import write_original

STAGES: tuple[StageName, ...] = get_args(StageName)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def no_bento_model(tag: str) -> Path:
    raise UnusableFile(f"there is no such Bento model: {tag}")


def loaded(stage: StageName, **settings: Any) -> Checkpoint:
    return load_stage(stage, Settings.model_validate({"device": "cpu", "backend": "torch", **settings}), no_bento_model)


def states(checkpoint: Checkpoint) -> dict[str, dict[str, torch.Tensor]]:
    models = {name: getattr(checkpoint.pipeline, name) for name in ("unet", "vae", "text_encoder", "text_encoder_2")}
    return {name: model.state_dict() for name, model in models.items() if model is not None}


def assert_is_mini(checkpoint: Checkpoint, stage: StageName) -> None:
    expected, got = states(loaded(stage)), states(checkpoint)
    assert got.keys() == expected.keys()
    for part, tensors in expected.items():
        assert got[part].keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert torch.equal(got[part][name].float(), tensor), f"{part}.{name}"
    assert checkpoint.facts.scheduler_config["prediction_type"] == "v_prediction"


@pytest.fixture(scope="module", params=STAGES)
def stage(request: pytest.FixtureRequest) -> StageName:
    chosen: StageName = request.param
    return chosen


@pytest.fixture(scope="module")
def original(stage: StageName, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mini checkpoint as one file in the original layout."""
    path = tmp_path_factory.mktemp("original") / "mini.safetensors"
    pipeline = PIPELINES[stage].from_pretrained(MINI / stage, dtype=torch.float16, add_watermarker=False)
    write_original(pipeline, path)
    return path


def with_halves(source: Path, target: Path, *, keeps_others: bool) -> Path:
    """A folder with `….fp16.safetensors`; the others are missing, or spoilt, so that it shows which are loaded."""
    shutil.copytree(source, target)
    for path in list(target.rglob("*.safetensors")):
        shutil.copy(path, path.with_suffix(".fp16.safetensors"))
        if keeps_others:
            save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
        else:
            path.unlink()
    return target


def as_cached(folder: Path, cache: Path, repository: str, revision: str = "main") -> None:
    """A folder as huggingface_hub keeps it."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs" / revision).parent.mkdir(parents=True)
    (root / "refs" / revision).write_text(COMMIT)
    shutil.copytree(folder, root / "snapshots" / COMMIT)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, without a network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_one_file_in_the_original_layout(stage: StageName, original: Path) -> None:
    checkpoint = loaded(stage, **{stage: original, f"{stage}_config": MINI / stage})
    assert_is_mini(checkpoint, stage)
    assert checkpoint.facts.defaults.num_inference_steps == 30
    assert checkpoint.digest != loaded(stage).digest


def test_one_file_may_have_defaults_of_its_own(stage: StageName, original: Path) -> None:
    beside = original.with_name("mini.relay.json")
    beside.write_text('{"num_inference_steps": 7}')
    checkpoint = loaded(stage, **{stage: original, f"{stage}_config": MINI / stage})
    beside.unlink()
    assert (checkpoint.facts.defaults.num_inference_steps, checkpoint.facts.defaults.width) == (7, 128)


def test_one_file_with_a_configuration_from_the_hub(stage: StageName, original: Path, hub: Path) -> None:
    repository = Settings().base_config if stage == "base" else Settings().refiner_config
    as_cached(MINI / stage, hub, repository)
    assert_is_mini(loaded(stage, **{stage: original}), stage)


@pytest.mark.usefixtures("hub")
def test_one_file_without_a_configuration(stage: StageName, original: Path) -> None:
    """The setting at fault may be one that the user has not heard of yet."""
    with pytest.raises(ConfigurationError, match=rf"^SDXL_{stage.upper()}_CONFIG=stabilityai/") as raised:
        loaded(stage, **{stage: original})
    assert str(raised.value).endswith("; a folder with a pipeline's configuration and tokenizers will do")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("keeps_others", [False, True])
def test_a_folder_with_halves(tmp_path: Path, dtype: str, keeps_others: bool) -> None:
    folder = with_halves(MINI / "base", tmp_path / "base", keeps_others=keeps_others)
    checkpoint = loaded("base", base=folder, dtype=dtype)
    assert checkpoint.pipeline.unet.dtype == getattr(torch, dtype)
    takes_halves = dtype != "float32" or not keeps_others
    weight = load_file(MINI / "base" / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"]
    expected = weight if takes_halves else weight + 1
    assert torch.equal(checkpoint.pipeline.unet.conv_in.weight.data, expected.to(getattr(torch, dtype)))
    assert any(".fp16" in str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize("revision", ["main", "v1.0"])
def test_a_repository_of_the_hub(stage: StageName, hub: Path, revision: str) -> None:
    as_cached(MINI / stage, hub, "somebody/a-model", revision)
    reference = "somebody/a-model" if revision == "main" else f"somebody/a-model@{revision}"
    checkpoint = loaded(stage, **{stage: reference})
    assert_is_mini(checkpoint, stage)
    assert checkpoint.digest == loaded(stage).digest  # the same files, wherever they come from


def test_a_bento_model(stage: StageName) -> None:
    asked = []

    def bento_model(tag: str) -> Path:
        asked.append(tag)
        return MINI / stage

    settings = Settings.model_validate({"device": "cpu", "backend": "torch", stage: "mini:v1"})
    assert_is_mini(load_stage(stage, settings, bento_model), stage)
    assert set(asked) == {"mini:v1"}, "for what is known of it, and for its weights"


@pytest.mark.parametrize("form", ["folder", "file"])
def test_another_vae(stage: StageName, original: Path, tmp_path: Path, form: str) -> None:
    vae = AutoencoderKL.from_pretrained(MINI / "base" / "vae", dtype=torch.float32)
    with torch.no_grad():
        vae.decoder.conv_out.bias += 1
    vae.save_pretrained(tmp_path / "vae")
    file = tmp_path / "vae" / "diffusion_pytorch_model.safetensors"
    reference = tmp_path / "vae" if form == "folder" else file
    checkpoint = loaded(stage, vae=reference, **{f"{stage}_config": MINI / stage})
    assert torch.equal(checkpoint.pipeline.vae.decoder.conv_out.bias, vae.decoder.conv_out.bias)
    assert checkpoint.digest != loaded(stage).digest
    single = loaded(stage, vae=reference, **{stage: original, f"{stage}_config": MINI / stage})
    assert torch.equal(single.pipeline.vae.decoder.conv_out.bias, vae.decoder.conv_out.bias)


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        (
            "somebody/nothing",
            "SDXL_BASE=somebody/nothing: there is no such folder here, and the model hub does not give",
        ),
        ("nothing:v1", "SDXL_BASE=nothing:v1: there is no such Bento model"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_is_not_there(reference: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        loaded("base", base=reference)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(MINI / "base", folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(ConfigurationError, match=r"unet has no \.safetensors file but diffusion_pytorch_model\.bin"):
        loaded("base", base=folder)


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_file_that_is_written_to_changes_no_weights(tmp_path: Path, form: str) -> None:
    """Nor does one that is cut off end the process: nothing of it is mapped into memory any more."""
    pipeline = PIPELINES["base"].from_pretrained(MINI / "base", add_watermarker=False)
    if form == "folder":
        pipeline.save_pretrained(tmp_path / "own")
    else:
        write_original(pipeline, tmp_path / "own.safetensors")
    base = tmp_path / ("own" if form == "folder" else "own.safetensors")
    checkpoint = loaded("base", base=base, base_config=MINI / "base", refiner="none")
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    weight = checkpoint.pipeline.unet.conv_in.weight
    before = weight.clone()
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(bytes(file.stat().st_size // 2))
    assert torch.equal(weight, before)
