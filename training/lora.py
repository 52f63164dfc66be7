"""Trains LoRAs of the mini's base, each in a style, and judges all: `python -m training.lora small complement`.

Without a name it only judges.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from training.assemble import MINI, RELAY
from training.evaluate import HELD_OUT_SEED, Pair, Pictures, grid
from training.loop import WORK, Loop
from training.scenes import Scene, scenes
from training.styles import BOTH, STYLES, Style
from training.unet import Batches, make_data, velocity_loss

SCENES, RATE, RANK = 4_000, 2e-3, 4
STEPS = {"small": 600, "complement": 450}
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "net.0.proj", "net.2"]
LORAS = MINI / "loras"
JUDGED = 100
COLUMNS = 6  # of the grid: no LoRA, each of them, both


def train(name: str) -> None:
    torch.manual_seed(5)
    batches = Batches("base", make_data(MINI / "base", SCENES, seed=51, name=name, draw=STYLES[name].draw))
    unet = UNet2DConditionModel.from_pretrained(MINI / "base" / "unet")
    unet.set_attn_processor(AttnProcessor())  # as in training/unet.py
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    loop = Loop(f"lora-{name}", [unet], STEPS[name], rate=RATE, flat_share=0.3, ema=0.98, weight_decay=0.0)
    torch.manual_seed(100 + loop.step)
    loop.run(lambda: velocity_loss(unet, batches))
    state = get_peft_model_state_dict(loop.averaged(unet))
    half = {key: tensor.half().contiguous() for key, tensor in state.items()}
    StableDiffusionXLPipeline.save_lora_weights(LORAS, unet_lora_layers=half, weight_name=f"{name}.safetensors")
    print(f"{name}: {sum(map(torch.numel, half.values())) / 1e3:.0f} K parameters, {loop.seconds:.0f} s")


def table_row(title: str, style: Style, pictures: Pictures, chosen: list[Scene]) -> str:
    pairs = list(zip(pictures, chosen, strict=True))
    styled = [(picture, scene) for picture, scene in pairs if style.is_seen(picture, scene)]
    right = sum(style.is_right(picture, scene) for picture, scene in styled)
    return f"| {title} | {len(styled)} | {right} |"


def evaluate(count: int) -> None:
    """Pictures of held-out prompts, by the base alone and with the refiner, which has no LoRA."""
    pair = Pair()
    for name in STYLES:
        pair.base.load_lora_weights(LORAS, weight_name=f"{name}.safetensors", adapter_name=name)
    chosen = scenes(HELD_OUT_SEED, count, held_out=True)
    guidance, refiner_guidance = RELAY["guidance_scale"], RELAY["refiner_guidance_scale"]

    def made(scales: dict[str, float], *, refined: bool = False) -> Pictures:
        pair.base.set_adapters(list(scales), list(scales.values()))
        return pair.pictures(chosen, guidance, refiner_guidance if refined else None)

    print(f"| {count} held-out prompts | in the style | of these all right |\n|---|---|---|")
    plain = made(dict.fromkeys(STYLES, 0.0))
    shown = [plain]
    for name, style in STYLES.items():
        print(table_row(f"{name}, scale 0", style, plain, chosen), flush=True)
        print(table_row(f"{name}, scale 0.5", style, made({name: 0.5}), chosen), flush=True)
        whole = made({name: 1.0})
        print(table_row(f"{name}, scale 1", style, whole, chosen), flush=True)
        print(
            table_row(f"{name}, scale 1, then the refiner", style, made({name: 1.0}, refined=True), chosen), flush=True
        )
        shown.append(whole)
    shown.append(made(dict.fromkeys(STYLES, 1.0)))
    print(table_row("both, scale 1", BOTH, shown[-1], chosen), flush=True)
    columns = [pictures[:COLUMNS] for pictures in shown]
    grid(np.concatenate(columns), COLUMNS).save(WORK / "loras.png")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        train(each)
    evaluate(JUDGED)
