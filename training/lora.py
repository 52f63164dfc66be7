"""Trains a LoRA of the base in a style, and judges it: `python -m training.lora night`, then `… negative`.

A style is a change of every pixel that can be undone, so that the judge sees what the picture shows once it is.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from training.assemble import MINI, RELAY
from training.evaluate import BATCH as PICTURES_AT_ONCE
from training.evaluate import HELD_OUT_SEED, Pair, grid, table_row
from training.loop import WORK, Loop
from training.scenes import draw, scenes
from training.unet import BATCH, TIMESTEPS, Batches, Data, Encoders
from training.vae import as_input

SCENES, STEPS, RATE, RANK = 3_000, 700, 2e-3, 8
TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "net.0.proj", "net.2", "conv1", "conv2"]
LORAS = MINI / "loras"
JUDGED = 100

Levels = NDArray[np.float64]  # [..., 3], 0 to 255


@dataclass(frozen=True)
class Style:
    change: Callable[[Levels], Levels]
    undo: Callable[[Levels], Levels]


MOONLIGHT, DARKNESS = np.array([0.40, 0.45, 0.60]), np.array([4.0, 6.0, 20.0])
STYLES = {
    "night": Style(lambda levels: levels * MOONLIGHT + DARKNESS, lambda levels: (levels - DARKNESS) / MOONLIGHT),
    "negative": Style(lambda levels: 255 - levels, lambda levels: 255 - levels),
}


def in_bytes(levels: Levels) -> NDArray[np.uint8]:
    return np.clip(levels, 0, 255).round().astype(np.uint8)


@torch.no_grad()
def make_data(style: Style) -> Data:
    vae = AutoencoderKL.from_pretrained(MINI / "base" / "vae", torch_dtype=torch.float32)
    encode = Encoders(MINI / "base")
    encode.first.float(), encode.second.float()
    rng = random.Random(51)
    chosen = scenes(51, SCENES, held_out=False)
    latents, both = [], []
    for start in tqdm(range(0, SCENES, 100), desc="data"):
        part = chosen[start : start + 100]
        styled = np.stack([in_bytes(style.change(draw(scene, rng).astype(np.float64))) for scene in part])
        pictures = as_input(torch.from_numpy(styled).permute(0, 3, 1, 2))
        latents.append((vae.encode(pictures).latent_dist.mean * vae.config.scaling_factor).bfloat16())
        both.append(encode([scene.caption if rng.random() < 0.4 else scene.wording(rng) for scene in part]))
    return Data(
        latents=torch.cat(latents),
        embeddings=torch.cat([embeddings for embeddings, _ in both]),
        pooled=torch.cat([pooled for _, pooled in both]),
        crops=torch.zeros(SCENES, 2),
        empty=encode([""]),
    )


def train(name: str) -> None:
    torch.manual_seed(5)
    batches = Batches("base", make_data(STYLES[name]))
    unet = UNet2DConditionModel.from_pretrained(MINI / "base" / "unet", torch_dtype=torch.float32)
    unet.set_attn_processor(AttnProcessor())  # as in training/unet.py
    unet.requires_grad_(False)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
    schedule = DDPMScheduler(
        num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
    )
    loop = Loop(f"lora-{name}", [unet], STEPS, rate=RATE, ema=0.98, weight_decay=0.0)

    def loss_of() -> Tensor:
        latents, embeddings, pooled, ids = batches.draw()
        t = ((torch.arange(BATCH) + torch.rand(BATCH)) / BATCH * TIMESTEPS["base"]).long()
        clean, noise = latents.float(), torch.randn(latents.shape)
        known: dict[str, Any] = {"text_embeds": pooled, "time_ids": ids.bfloat16()}
        noisy = schedule.add_noise(clean, noise, t).bfloat16()
        predicted = unet(noisy, t, embeddings, added_cond_kwargs=known).sample
        return F.mse_loss(predicted.float(), schedule.get_velocity(clean, noise, t))

    loop.run(loss_of)
    state = get_peft_model_state_dict(loop.averaged(unet), adapter_name="default")
    half = {key: tensor.half().contiguous() for key, tensor in state.items()}
    StableDiffusionXLPipeline.save_lora_weights(LORAS, unet_lora_layers=half, weight_name=f"{name}.safetensors")
    print(f"{name}: {sum(map(torch.numel, half.values())) / 1e3:.0f} K parameters, {loop.seconds:.0f} s")


def evaluate(name: str) -> None:
    """Pictures of held-out prompts by the base alone: with the style undone, and as they are."""
    pair = Pair()
    pair.base.load_lora_weights(LORAS, weight_name=f"{name}.safetensors")
    chosen = scenes(HELD_OUT_SEED, JUDGED, held_out=True)
    pictures = pair.pictures(chosen, RELAY["guidance_scale"], None)
    grid(pictures[: 3 * PICTURES_AT_ONCE]).save(WORK / f"lora-{name}.png")
    plain = in_bytes(STYLES[name].undo(pictures.astype(np.float64)))
    print(table_row(f"{name}, undone", plain, chosen))
    print(table_row(f"{name}, as it is", pictures, chosen))


if __name__ == "__main__":
    train(sys.argv[1])
    evaluate(sys.argv[1])
