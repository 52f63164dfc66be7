"""Checkpoints in one file: the weights are those of diffusers' own loader, and every tensor is accounted for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from sdxl.config.settings import ConfigurationError, StageName
from sdxl.models.weights import PIPELINES
from tests.conftest import MINI
from tests.sdxl.files.checkpoints import TEXT_1, TEXT_2, UNET, VAE, State, folder, more, original, scaled, spoiled
from tests.sdxl.models.test_weights import loaded, states

PROJECTION = f"{TEXT_2}model.text_projection"
MATRIX = f"{UNET}time_embed.0.weight"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[StageName, Path]:
    path = tmp_path_factory.mktemp("original")
    stages: tuple[StageName, ...] = ("base", "refiner")
    return {stage: original(stage, path / f"{stage}.safetensors") for stage in stages}


def load(path: Path, stage: StageName = "base", **settings: Any) -> Any:
    return loaded(stage, **{stage: path, f"{stage}_config": MINI / stage, **settings})


@pytest.fixture
def base(files: dict[StageName, Path], tmp_path: Path) -> Callable[..., Path]:
    """The base's file with a change."""
    return partial(spoiled, files["base"], tmp_path / "own.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("stage", ["base", "refiner"])
def test_diffusers_own_loader_gives_the_same(files: dict[StageName, Path], stage: StageName, dtype: str) -> None:
    pipeline = PIPELINES[stage].from_single_file(
        files[stage], config=str(MINI / stage), local_files_only=True, dtype=getattr(torch, dtype)
    )
    checkpoint = load(files[stage], stage, dtype=dtype)
    for name, state in states(checkpoint).items():
        want = getattr(pipeline, name).state_dict()
        assert state.keys() == want.keys()
        assert all(torch.equal(tensor, want[key]) and tensor.dtype == want[key].dtype for key, tensor in state.items())


@pytest.mark.parametrize("weight_scale", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("by_row", [False, True])
def test_scaled_fp8_has_its_scales(
    files: dict[StageName, Path], base: Callable[..., Path], weight_scale: str, by_row: bool
) -> None:
    """Each weight is within fp8's precision of the true one: 3 bits of its own, or 2**-9 of the scale."""
    path = base(lambda state: scaled(state, weight_scale, by_row=by_row))
    unet = load(path).pipeline.unet
    true, stored = load_file(files["base"])[MATRIX], load_file(path)
    got = unet.time_embedding.linear_1.weight
    scale = stored[MATRIX.replace("weight", weight_scale)]
    assert torch.equal(got, stored[MATRIX].float() * scale)
    assert ((got - true).abs() <= true.abs() / 16 + scale / 2**9).all()
    assert torch.equal(unet.conv_in.weight, load_file(files["base"])[f"{UNET}input_blocks.0.0.weight"])


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float64], ids=str)
def test_other_types_are_only_converted(base: Callable[..., Path], dtype: torch.dtype) -> None:
    path = base(lambda state: {name: tensor.to(dtype) for name, tensor in state.items()})
    got = load(path).pipeline.unet.time_embedding.linear_1.weight
    assert torch.equal(got, load_file(path)[MATRIX].float())


def test_the_text_projection_in_either_form(files: dict[StageName, Path], base: Callable[..., Path]) -> None:
    """A matrix that is multiplied from the right, as OpenCLIP has it, or a layer's weight; it is square."""
    matrix = load_file(files["base"])[PROJECTION]
    assert not torch.equal(matrix, matrix.T)
    assert torch.equal(load(files["base"]).pipeline.text_encoder_2.text_projection.weight, matrix.T)

    def as_layer(state: State) -> State:
        state[f"{PROJECTION}.weight"] = state.pop(PROJECTION).T
        return state

    assert torch.equal(load(base(as_layer)).pipeline.text_encoder_2.text_projection.weight, matrix.T)


HARMLESS = more(
    denoiser__sigmas=torch.linspace(0, 14, 1000),
    model_ema__decay=torch.tensor(0.99),
    model_ema__diffusion_modeltime_embed0weight=torch.zeros(4, 4),
    first_stage_model__loss__logvar=torch.tensor(0.0),
    first_stage_model__loss__discriminator__main__0__weight=torch.zeros(4, 4),
    conditioner__embedders__1__model__logit_scale=torch.tensor(4.6),
)
POSITION_IDS = "conditioner.embedders.0.transformer.text_model.embeddings.position_ids"


@pytest.mark.parametrize("positions", [torch.int64, torch.float32, torch.float16], ids=str)
def test_what_no_model_has_use_for_is_left_out(
    files: dict[StageName, Path], base: Callable[..., Path], caplog: pytest.LogCaptureFixture, positions: torch.dtype
) -> None:
    """CLIP's numbers of positions are floats where a tool has converted all tensors."""
    path = base(lambda state: HARMLESS(state) | {POSITION_IDS: torch.arange(77)[None].to(positions)})
    with caplog.at_level(logging.WARNING):
        found, want = states(load(path)), states(load(files["base"]))
    assert all(torch.equal(tensor, want[part][name]) for part, state in found.items() for name, tensor in state.items())
    assert "no use is made of" not in caplog.text


def test_what_else_is_in_the_file_is_told(base: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(base(more(cond_stage_model__a__weight=torch.zeros(4, 4))))
    assert "of the checkpoint's file, no use is made of cond_stage_model.a.weight" in caplog.text


def drop(name: str) -> Callable[[State], State]:
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


def replaced(name: str, tensor: torch.Tensor) -> Callable[[State], State]:
    return lambda state: {**state, name: tensor}


FAULTS: dict[str, tuple[Callable[[State], State], str]] = {
    "a tensor of the UNet": (drop(MATRIX), f"it lacks {MATRIX}: it is another model's"),
    "a tensor of the VAE": (drop(f"{VAE}decoder.norm_out.bias"), f"it lacks {VAE}decoder.norm_out.bias"),
    "a tensor of text encoder 1": (
        drop(f"{TEXT_1}transformer.text_model.final_layer_norm.bias"),
        f"it lacks {TEXT_1}transformer.text_model.final_layer_norm.bias",
    ),
    "a tensor of text encoder 2": (drop(PROJECTION), f"it lacks {PROJECTION}.weight"),
    "another shape": (replaced(MATRIX, torch.zeros(8, 8)), f"{MATRIX} has the shape [8, 8], not [256, 64]"),
    "turned round": (replaced(MATRIX, torch.zeros(64, 256)), f"{MATRIX} has the shape [64, 256], not"),
    "one block more": (
        replaced(f"{UNET}input_blocks.7.0.in_layers.0.weight", torch.zeros(8)),
        f"it has {UNET}input_blocks.7.0.in_layers.0.weight, for which SDXL has no place",
    ),
    "one layer more": (
        replaced(f"{TEXT_1}transformer.text_model.encoder.layers.9.mlp.fc1.bias", torch.zeros(8)),
        f"it has {TEXT_1}transformer.text_model.encoder.layers.9.mlp.fc1.bias, for which",
    ),
    "an image encoder": (replaced(f"{TEXT_2}model.visual.proj", torch.zeros(8, 8)), "for which SDXL has no place"),
    "scales in another form": (
        replaced(f"{UNET}time_embed.0.weight_scale_inv", torch.tensor(2.0)),
        f"it has {UNET}time_embed.0.weight_scale_inv, for which SDXL has no place",
    ),
    "scales of blocks": (
        replaced(MATRIX.replace("weight", "weight_scale"), torch.ones(256, 2)),
        "has the shape [256, 2]; one scale, or one for each row, can be read",
    ),
    "a scale of nothing": (
        replaced(f"{UNET}nothing.scale_weight", torch.tensor(2.0)),
        f"it has {UNET}nothing.scale_weight, for which SDXL has no place",
    ),
    "NaN": (
        lambda state: {**state, MATRIX: state[MATRIX] * torch.nan},
        "unet has NaN or infinity in time_embedding.linear_1.weight in float32",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_file_that_is_not_whole_or_more(base: Callable[..., Path], name: str) -> None:
    change, said = FAULTS[name]
    path = base(change)
    with pytest.raises(ConfigurationError) as raised:
        load(path)
    assert str(raised.value).startswith(f"SDXL_BASE={path}: ")
    assert said in str(raised.value)


def test_a_weight_too_large_for_half_precision(base: Callable[..., Path]) -> None:
    path = base(lambda state: {**state, MATRIX: state[MATRIX] + 1e5})
    load(path)
    with pytest.raises(ConfigurationError, match=r"time_embedding\.linear_1\.weight in float16; another SDXL_DTYPE"):
        load(path, dtype="float16")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
@pytest.mark.parametrize("fault", ["lacks", "has"])
def test_a_folder_is_as_strict(tmp_path: Path, part: str, fault: str) -> None:
    """diffusers and transformers would draw missing weights at random, and leave others out."""
    path = folder(tmp_path / "own")
    (file,) = (path / part).glob("*.safetensors")
    name = next(name for name in load_file(file) if name.endswith("weight"))
    change = drop(name) if fault == "lacks" else replaced(f"{name}.scale_weight", torch.ones(2, 2))
    spoiled(file, file, change, format="pt")
    with pytest.raises(ConfigurationError, match=rf"^SDXL_BASE=.*: {part} {fault} "):
        loaded("base", base=path)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "text_encoder_2"])
def test_a_folder_with_another_shape(tmp_path: Path, part: str) -> None:
    path = folder(tmp_path / "own")
    (file,) = (path / part).glob("*.safetensors")
    name = next(name for name in load_file(file) if name.endswith("bias"))
    spoiled(file, file, replaced(name, torch.zeros(7)), format="pt")
    with pytest.raises(ConfigurationError, match=rf"^SDXL_BASE=.*{name.rpartition('.')[0]}.*7"):
        loaded("base", base=path)


def test_colours_of_latents_in_another_shape(tmp_path: Path) -> None:
    path = folder(tmp_path / "own")
    for content in ('{"weights": [[1]], "bias": [1]}', '{"bias": [1]}', '{"weights": "red", "bias": [1, 2, 3]}'):
        (path / "latent_rgb.json").write_text(content)
        with pytest.raises(ConfigurationError, match=r"^SDXL_BASE=.*: latent_rgb\.json: .*weights"):
            loaded("base", base=path)


def test_parts_that_are_only_there_in_half_precision(tmp_path: Path) -> None:
    path = folder(tmp_path / "own")
    (path / "text_encoder/model.safetensors").rename(path / "text_encoder/model.fp16.safetensors")
    assert loaded("base", base=path).pipeline.text_encoder.dtype == torch.float32


def test_a_vae_of_another_scale(tmp_path: Path) -> None:
    """As those of Stable Diffusion 1, whose shapes are the same."""
    vae = folder(tmp_path / "own") / "vae"
    config = vae / "config.json"
    config.write_text(config.read_text().replace("0.13025", "0.18215"))
    with pytest.raises(ConfigurationError, match=r"^SDXL_VAE=.*: its scaling_factor is 0\.18215 and the checkpoint's"):
        loaded("base", vae=vae)
