"""The mini checkpoint's UNet as if it were distilled: changed at random, as a state file, a LoRA, or a whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from tests.conftest import MINI


def changed_unet() -> UNet2DConditionModel:
    """The mini base's, with every weight matrix changed by some percent."""
    unet = UNet2DConditionModel.from_pretrained(MINI / "base", subfolder="unet")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in unet.parameters():
            if parameter.ndim > 1:
                parameter += 0.03 * parameter.std() * torch.randn(parameter.shape, generator=generator)
    return unet


def write_unet_state(path: Path) -> None:
    """As SDXL-Lightning's sdxl_lightning_4step_unet.safetensors."""
    state = {name: tensor.half().contiguous() for name, tensor in changed_unet().state_dict().items()}
    save_file(state, path)


def write_lora(path: Path) -> None:
    """In diffusers' layout, for the UNet alone."""
    unet = UNet2DConditionModel.from_pretrained(MINI / "base", subfolder="unet")
    torch.manual_seed(2)
    unet.add_adapter(LoraConfig(r=4, lora_alpha=4, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    with torch.no_grad():
        for name, parameter in unet.named_parameters():
            if "lora_B" in name:
                parameter += 0.2 * torch.randn(parameter.shape)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionXLPipeline.save_lora_weights(path.parent, unet_lora_layers=layers, weight_name=path.name)


def write_kohya_lora(path: Path, of: Path) -> None:
    """The LoRA of another file, in the layout of kohya's scripts."""
    layers: dict[str, torch.Tensor] = {}
    for name, tensor in load_file(of).items():
        module, _, part = name.removeprefix("unet.").rpartition(".lora.")
        own = f"lora_unet_{module.replace('.', '_')}"
        layers |= {f"{own}.lora_{part}": tensor, f"{own}.alpha": torch.tensor(float(min(tensor.shape)))}
    save_file(layers, path)


def write_turbo(folder: Path) -> None:
    """A whole checkpoint, with SDXL-Turbo's kind of sampler; its trailing spacing is left to the preset."""
    shutil.copytree(MINI / "base", folder)
    changed_unet().save_pretrained(folder / "unet")
    for name, change in (
        ("model_index.json", {"scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"]}),
        ("scheduler/scheduler_config.json", {"_class_name": "EulerAncestralDiscreteScheduler"}),
    ):
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
