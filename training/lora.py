"""Trains a LoRA of the mini's base in a style, and judges its pictures: `python -m training.lora small`."""

from __future__ import annotations

import sys

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from training.assemble import MINI, RELAY
from training.evaluate import HELD_OUT_SEED, Pair, Pictures, grid
from training.loop import WORK, Loop
from training.scenes import Scene, scenes
from training.styles import STYLES, Style
from training.unet import Batches, make_data, velocity_loss

SCENES, STEPS, RATE, RANK = 4_000, 500, 1e-3, 4
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "net.0.proj", "net.2"]
LORAS = MINI / "loras"
JUDGED = 100
SCALES = (0.0, 0.5, 1.0)


def train(name: str) -> None:
    torch.manual_seed(5)
    batches = Batches("base", make_data(MINI / "base", SCENES, seed=51, name=name, draw=STYLES[name].draw))
    unet = UNet2DConditionModel.from_pretrained(MINI / "base" / "unet")
    unet.set_attn_processor(AttnProcessor())  # as in training/unet.py
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    loop = Loop(f"lora-{name}", [unet], STEPS, rate=RATE, flat_share=0.3, ema=0.98, weight_decay=0.0)
    torch.manual_seed(100 + loop.step)
    loop.run(lambda: velocity_loss(unet, batches))
    state = get_peft_model_state_dict(loop.averaged(unet))
    half = {key: tensor.half().contiguous() for key, tensor in state.items()}
    StableDiffusionXLPipeline.save_lora_weights(LORAS, unet_lora_layers=half, weight_name=f"{name}.safetensors")
    print(f"{name}: {sum(map(torch.numel, half.values())) / 1e3:.0f} K parameters, {loop.seconds:.0f} s")


def table_row(name: str, style: Style, pictures: Pictures, chosen: list[Scene]) -> str:
    pairs = list(zip(pictures, chosen, strict=True))
    styled = [(picture, scene) for picture, scene in pairs if style.is_seen(picture, scene)]
    right = sum(style.is_right(picture, scene) for picture, scene in styled)
    return f"| {name} | {len(styled)} | {right} |"


def evaluate(name: str) -> None:
    """Pictures of held-out prompts, by the base alone and with the refiner, which has no LoRA."""
    pair = Pair()
    pair.base.load_lora_weights(LORAS, weight_name=f"{name}.safetensors", adapter_name=name)
    chosen = scenes(HELD_OUT_SEED, JUDGED, held_out=True)
    print(f"| {JUDGED} held-out prompts | in the style | of these all right |\n|---|---|---|")
    for scale in SCALES:
        pair.base.set_adapters([name], [scale])
        pictures = pair.pictures(chosen, RELAY["guidance_scale"], None)
        print(table_row(f"{name}, scale {scale}", STYLES[name], pictures, chosen), flush=True)
    refined = pair.pictures(chosen, RELAY["guidance_scale"], RELAY["refiner_guidance_scale"])
    print(table_row(f"{name}, with the refiner", STYLES[name], refined, chosen))
    grid(pictures[:48]).save(WORK / f"lora-{name}.png")


if __name__ == "__main__":
    train(sys.argv[1])
    evaluate(sys.argv[1])
