"""What a preset and SDXL_DISTILLED make of a checkpoint."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from sdxl.config.presets import PRESETS, PresetName
from sdxl.config.settings import ConfigurationError, StageName
from sdxl.denoising.sampler import digest, img2img_steps, make_sampler, set_steps
from sdxl.errors import RelayError
from sdxl.models.checkpoint import Checkpoint
from sdxl.request.requests import EditRequest, GenerationRequest
from sdxl.request.samplers import SamplerName
from tests.conftest import MINI
from tests.sdxl.models.distilled_files import write_kohya_lora, write_lora, write_turbo, write_unet_state
from tests.sdxl.models.test_weights import loaded

NAMES: tuple[PresetName, ...] = get_args(PresetName)


@pytest.fixture(scope="module")
def turbo(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tmp_path_factory.mktemp("turbo") / "turbo"
    write_turbo(folder)
    return loaded("base", preset="turbo", base=str(folder))


@cache
def without_files(stage: StageName, preset: PresetName | None) -> Checkpoint:
    return loaded(stage, preset=preset)


def test_there_is_a_preset_for_every_name() -> None:
    assert set(PRESETS) == set(NAMES)


def test_a_unets_state_takes_the_place_of_the_bases(tmp_path: Path) -> None:
    path = tmp_path / "sdxl_lightning_2step_unet.safetensors"
    write_unet_state(path)
    checkpoint = loaded("base", preset="lightning", distilled=str(path))
    for name, tensor in load_file(path).items():
        assert torch.equal(checkpoint.pipeline.unet.state_dict()[name], tensor.float())
    assert checkpoint.digest != without_files("base", "lightning").digest
    assert checkpoint.facts.defaults.num_inference_steps == 2, "as its name says"
    assert loaded("refiner", preset="lightning", distilled=str(path)).digest == without_files("refiner", None).digest


def test_a_lora_becomes_part_of_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "lcm.safetensors"
    write_lora(path)
    checkpoint = loaded("base", preset="lcm", distilled=str(path))
    state, plain = (c.pipeline.unet.state_dict() for c in (checkpoint, without_files("base", None)))
    assert state.keys() == plain.keys(), "no adapter is left"
    changed = {name for name in state if not torch.equal(state[name], plain[name])}
    assert changed
    assert all(".to_" in name for name in changed)


def test_a_lora_in_kohyas_layout_is_the_same(tmp_path: Path) -> None:
    own, kohyas = tmp_path / "own.safetensors", tmp_path / "kohyas.safetensors"
    write_lora(own)
    write_kohya_lora(kohyas, of=own)
    one, other = (
        loaded("base", preset="lcm", distilled=str(path)).pipeline.unet.state_dict() for path in (own, kohyas)
    )
    for name, tensor in one.items():
        torch.testing.assert_close(other[name], tensor)


def bad_files(folder: Path) -> dict[str, str]:
    """Files by what is said of them."""
    state = load_file(MINI / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    save_file({"a": torch.zeros(1)}, folder / "other.safetensors")
    save_file({"lora_te9_a.lora_down.weight": torch.zeros(1, 1)}, folder / "lora.safetensors")
    save_file({**state, "conv_in.weight": torch.zeros(1)}, folder / "shape.safetensors")
    save_file({"unet.a.lora_A.weight": torch.zeros(1, 1)}, folder / "elsewhere.safetensors")
    shutil.copy(folder / "other.safetensors", folder / "sdxl_lightning_1step_unet_x0.safetensors")
    (folder / "broken.safetensors").write_bytes(b"nothing")
    return {
        "other": "neither a LoRA nor a UNet's state: ",
        "lora": "it has lora_te9_a.lora_down.weight, and this model's unet, text_encoder, text_encoder_2 no such layer",
        "elsewhere": "it has unet.a.lora_A.weight, and this model's unet, text_encoder, text_encoder_2 no such layer",
        "shape": "size mismatch for conv_in.weight",
        "broken": "it is no safetensors file",
        "sdxl_lightning_1step_unet_x0": "predicts the sample itself",
    }


@pytest.mark.parametrize("name", ["other", "lora", "elsewhere", "shape", "broken", "sdxl_lightning_1step_unet_x0"])
def test_a_file_that_does_not_fit_ends_the_start(tmp_path: Path, name: str) -> None:
    said = bad_files(tmp_path)[name]
    path = tmp_path / f"{name}.safetensors"
    with pytest.raises(ConfigurationError) as raised:
        loaded("base", preset="lightning", distilled=str(path))
    assert str(raised.value).startswith(f"SDXL_DISTILLED={path}: ")
    assert said in str(raised.value)


@pytest.mark.parametrize("scheduler", get_args(SamplerName))
def test_turbo_and_the_refiner_agree_on_samplers(turbo: Checkpoint, scheduler: SamplerName) -> None:
    """Though the one's own is of another class than the other's."""
    refiner = without_files("refiner", "turbo")
    made = [make_sampler(scheduler, stage.facts.scheduler_config) for stage in (turbo, refiner)]
    assert len({digest(scheduler, stage.facts.scheduler_config) for stage in (turbo, refiner)}) == 1
    for sampler in made:
        sampler.set_timesteps(4)
    assert [*made[0].timesteps] == [*made[1].timesteps]
    assert scheduler == "lcm" or made[0].timesteps[0] == 999, "trailing"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_left_out_is_the_presets(name: PresetName, turbo: Checkpoint) -> None:
    defaults = (turbo if name == "turbo" else without_files("base", name)).facts.defaults
    wanted = GenerationRequest(prompt="a", seed=1).with_defaults(defaults)
    want: dict[PresetName, tuple[Any, ...]] = {
        "turbo": (1, 0.0, "euler_ancestral", "none", 512),
        "lightning": (4, 0.0, "euler", "none", 128),
        "lcm": (4, 1.0, "lcm", "none", 128),
    }
    got = (wanted.num_inference_steps, wanted.guidance_scale, wanted.scheduler, wanted.refine, wanted.width)
    assert got == want[name]
    defaults.bounds.check(wanted)
    assert without_files("refiner", name).facts.defaults.num_inference_steps == 30, "the refiner is not distilled"


@pytest.mark.parametrize("has_mask", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_edits_have_steps_by_default(name: PresetName, has_mask: bool, turbo: Checkpoint) -> None:
    checkpoint = turbo if name == "turbo" else without_files("base", name)
    wanted = EditRequest(prompt="a", seed=1).with_defaults(checkpoint.facts.defaults, has_mask=has_mask)
    assert wanted.refine == "none"
    sampler = make_sampler(wanted.scheduler, checkpoint.facts.scheduler_config)
    steps = len(img2img_steps(sampler, wanted.num_inference_steps, wanted.strength))
    assert steps == (4 if has_mask else {"turbo": 2, "lightning": 3, "lcm": 3}[name])


@pytest.mark.parametrize("name", ["turbo", "lightning"])
def test_trailing_is_the_presets_default(name: PresetName) -> None:
    facts = without_files("base", name).facts
    config = facts.scheduler_config
    for scheduler in facts.defaults.bounds.scheduler or ():
        default, trailing = (make_sampler(scheduler, config, schedule) for schedule in ("default", "sgm_uniform"))
        assert [*set_steps(default, 4)] == [*set_steps(trailing, 4)]
    asked = GenerationRequest(prompt="a", seed=1, schedule="normal").with_defaults(facts.defaults)
    with pytest.raises(RelayError, match='schedule: got "normal"; allowed: default, sgm_uniform with'):
        facts.defaults.bounds.check(asked)


def with_relay(folder: Path, **relay: Any) -> str:
    shutil.copytree(MINI / "base", folder)
    (folder / "relay.json").write_text(json.dumps(relay))
    return str(folder)


def test_a_relay_json_may_have_bounds(tmp_path: Path) -> None:
    base = with_relay(tmp_path / "base", num_inference_steps=6, bounds={"num_inference_steps": [4, 8]})
    defaults = loaded("base", base=base).facts.defaults
    defaults.bounds.check(GenerationRequest(prompt="a", seed=1, num_inference_steps=8).with_defaults(defaults))
    with pytest.raises(RelayError) as raised:
        defaults.bounds.check(GenerationRequest(prompt="a", seed=1, num_inference_steps=9).with_defaults(defaults))
    assert "num_inference_steps: got 9; allowed: 4 to 8, by the checkpoint's relay.json" in str(raised.value)


def test_defaults_out_of_their_own_bounds_end_the_start(tmp_path: Path) -> None:
    base = with_relay(tmp_path / "base", bounds={"num_inference_steps": [1, 8]})
    with pytest.raises(ConfigurationError, match="num_inference_steps: got 30; allowed: 1 to 8"):
        loaded("base", base=base)
