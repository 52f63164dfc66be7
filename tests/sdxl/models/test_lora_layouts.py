"""The same LoRA in each layout that trainers write is the same LoRA."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers,
    _maybe_map_sgm_blocks_to_diffusers,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.full_size import models
from sdxl.config.settings import MINI
from sdxl.files.original_layout import unet_names
from sdxl.models.changes import LAYERS, LowRank
from sdxl.models.lora_file import read_lora
from sdxl.models.lora_names import Place, layers_of
from tests.sdxl.models.lora_files import KOHYA_PREFIX, Named, loaded, random_layers
from tests.sdxl.models.original_layout import unet_name
from tests.sdxl.models.test_lora import assert_near, outputs

ALL = ("unet", "text_encoder", "text_encoder_2")
UNET = ("unet",)
COMFY = {"text_encoder": "text_encoders.clip_l.transformer.", "text_encoder_2": "text_encoders.clip_g.transformer."}


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)


def text_model(name: str) -> str:
    return name if name.startswith("text_model.") else f"text_model.{name}"


def original(name: str) -> str:
    return unet_name(f"{name}.weight", resnets=1).removesuffix(".weight")


def kohya(part: str, name: str) -> str:
    return KOHYA_PREFIX[part] + (name if part == "unet" else text_model(name)).replace(".", "_")


def processor(part: str, name: str) -> str:
    if part != "unet":
        return f"{part}.{text_model(name)}"
    head, _, last = name.rpartition(".attn")
    number, _, projection = last.partition(".")
    return f"unet.{head}.attn{number}.processor.{projection.replace('to_out.0', 'to_out')}"


def comfy(part: str, name: str) -> str:
    return f"diffusion_model.{original(name)}" if part == "unet" else COMFY[part] + text_model(name)


def onetrainer(part: str, name: str) -> str:
    """In the names of the Open Model Initiative."""
    return (
        f"unet.{original(name)}" if part == "unet" else comfy(part, name).split(".", 1)[1].replace("transformer.", "")
    )


Layout = tuple[Iterable[str], Callable[[str, str], str], str, str]
LAYOUTS: dict[str, Layout] = {
    "PEFT": (ALL, lambda part, name: f"{part}.{name}", ".lora_A.weight", ".lora_B.weight"),
    "PEFT, as of transformers 4": (
        ALL,
        lambda part, name: f"{part}.{name if part == 'unet' else text_model(name)}",
        *(".lora_A.weight", ".lora_B.weight"),
    ),
    "PEFT, with the adapter's name": (
        UNET, lambda _, name: f"base_model.model.{name}", ".lora_A.default.weight", ".lora_B.default.weight"
    ),
    "PEFT, of one model": (UNET, lambda _, name: f"base_model.model.{name}", ".lora_A.weight", ".lora_B.weight"),
    "kohya": (ALL, kohya, ".lora_down.weight", ".lora_up.weight"),
    "kohya, in the original layout": (
        UNET,
        lambda _, name: f"lora_unet_{original(name).replace('.', '_')}",
        *(".lora_down.weight", ".lora_up.weight"),
    ),
    "kohya, as of SD 1": (
        ("text_encoder",),
        lambda _, name: f"lora_te_{text_model(name).replace('.', '_')}",
        *(".lora_down.weight", ".lora_up.weight"),
    ),
    "ComfyUI": (ALL, comfy, ".lora_down.weight", ".lora_up.weight"),
    "ComfyUI, text encoders": (
        ALL[1:],
        lambda part, name: comfy(part, name).removeprefix("text_encoders."),
        *(".lora_down.weight", ".lora_up.weight"),
    ),
    "OneTrainer": (ALL, onetrainer, ".lora_down.weight", ".lora_up.weight"),
    "LyCORIS by itself": (
        UNET, lambda _, name: f"lycoris_{name.replace('.', '_')}", ".lora_down.weight", ".lora_up.weight"
    ),
    "diffusers, of 2023": (UNET, processor, "_lora.down.weight", "_lora.up.weight"),
    "diffusers, of 2023, of one model": (
        UNET,
        lambda part, name: processor(part, name).removeprefix("unet."),
        *("_lora.down.weight", "_lora.up.weight"),
    ),
    "diffusers, of 2023, text encoders": (
        ALL[1:], processor, ".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"
    ),
    "diffusers, before PEFT": (UNET, lambda _, name: f"unet.{name}", ".lora.down.weight", ".lora.up.weight"),
}  # fmt: skip


def written(path: Path, layers: list[Named], layout: Layout, **tensors: Tensor) -> Path:
    _, name, down, up = layout
    for part, module, a, b in layers:
        tensors |= {name(part, module) + down: a, name(part, module) + up: b}
    save_file(tensors, path)
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_names_the_same_layers(pipeline: Any, tmp_path: Path, name: str, dtype: torch.dtype) -> None:
    layout = LAYOUTS[name]
    layers = [(part, module, a.to(dtype), b.to(dtype)) for part, module, a, b in random_layers(pipeline, layout[0], 1)]
    found = read_lora(written(tmp_path / "lora.safetensors", layers, layout), layers_of(pipeline))
    assert len(found) == len(layers) > 10
    for part, module, down, up in layers:
        (change,) = found[part, module]
        assert isinstance(change, LowRank)
        assert change.scale == 1
        assert torch.equal(change.down, down.float())
        assert torch.equal(change.up, up.float())


def test_kohyas_names_of_the_real_model_are_those_of_diffusers() -> None:
    """SDXL's base in its full size: each layer by diffusers' own converter, which cannot count the refiner's blocks."""
    unet = models("base")["unet"]
    layers = [name for name, layer in unet.named_modules() if isinstance(layer, LAYERS[:2])]
    ours = [f"lora_unet_{its.replace('.', '_')}" for its in unet_names(layers, 2).values()]
    ends = ("lora_down", "lora_up")
    file = {f"{name}.{end}.weight": torch.zeros(1) for name in ours for end in ends}
    converted, _ = _convert_non_diffusers_lora_to_diffusers(_maybe_map_sgm_blocks_to_diffusers(file, unet.config))
    theirs = {name.replace("_lora.", ".lora.").replace(".processor", "") for name in converted}
    named = [name.replace("to_out.0", "to_out") for name in layers]
    assert theirs == {f"unet.{name}.lora.{end}.weight" for name in named for end in ("down", "up")}


def alphas(layers: list[Named]) -> dict[Place, float]:
    return {(part, module): 0.5 + len(module) % 5 for part, module, _, _ in layers}


def test_each_layer_of_a_kohya_file_has_its_own_alpha(pipeline: Any, tmp_path: Path) -> None:
    """And its own rank, as resize_lora.py leaves them; diffusers gives most layers the most frequent alpha."""
    layers = [(part, module, down[: 1 + len(module) % 4], up[:, : 1 + len(module) % 4].contiguous())
              for part, module, down, up in random_layers(pipeline, ALL, 1)]  # fmt: skip
    own = alphas(layers)
    tensors = {f"{kohya(*place)}.alpha": torch.tensor(alpha) for place, alpha in own.items()}
    found = read_lora(written(tmp_path / "lora.safetensors", layers, LAYOUTS["kohya"], **tensors), layers_of(pipeline))
    for part, module, down, up in layers:
        (change,) = found[part, module]
        want = own[part, module] / len(down) * (up @ down)
        torch.testing.assert_close(change.scale * change.delta(torch.nn.Identity())[1], want)


@pytest.mark.parametrize("is_rank_stabilized", [False, True])
def test_diffusers_metadata_of_alphas(pipeline: Any, tmp_path: Path, is_rank_stabilized: bool) -> None:
    layers = list(random_layers(pipeline, UNET, 1))
    path = written(tmp_path / "lora.safetensors", layers, LAYOUTS["PEFT"])
    settings = {
        "r": 4, "lora_alpha": 8, "use_rslora": is_rank_stabilized,
        "target_modules": ["to_q", "to_k", "to_v", "to_out.0"],
        "alpha_pattern": {"attn2.to_q": 2, r"mid_block\..*to_v": 1},
    }  # fmt: skip
    metadata = {"lora_adapter_metadata": json.dumps({f"unet.{key}": value for key, value in settings.items()})}
    save_file(load_file(path), path, metadata=metadata)
    reference = StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)
    reference.load_lora_weights(str(path), adapter_name="a")
    ours = outputs(pipeline, loaded(pipeline, {"a": path}), (("a", 1.0),))
    for got, want in zip(ours, outputs(reference), strict=True):
        assert_near(got, want)


def test_the_text_projection(pipeline: Any, tmp_path: Path) -> None:
    """OneTrainer's: of a layer whose weight is [out, in]."""
    layers = list(random_layers(pipeline, ["text_encoder_2"], 1, "^text_projection$"))
    ((_, _, down, up),) = layers
    path = written(tmp_path / "lora.safetensors", layers, LAYOUTS["kohya"])
    tensors = {name.replace("text_model_", ""): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path)
    reference = StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)
    reference.text_encoder_2.text_projection.weight.data += up @ down
    ours = outputs(pipeline, loaded(pipeline, {"a": path}), (("a", 1.0),))
    for got, want in zip(ours, outputs(reference), strict=True):
        assert_near(got, want)
