"""Trains the two UNets: `python -m training.unet base`, then `python -m training.unet refiner`."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from training.loop import WORK, Loop
from training.scenes import Scene, draw, scenes
from training.text import pad_after_end, token_ids
from training.vae import as_input, random_crop

SCENES = 24_000
BATCH = 32
STEPS = {"base": 10_000, "refiner": 2_500}
RATE = {"base": 1e-3, "refiner": 7e-4}
TIMESTEPS = {"base": 1000, "refiner": 200}  # the refiner sees only the last 200 of 1,000
NATIVE_PX = 128
ID_WIDTH = 32  # sinusoidal features per number of the size conditioning
FIRST_WIDTH, SECOND_WIDTH = 64, 128  # of the two text encoders
NEGATIVE_SCORE = 2.5

Draw = Callable[[Scene, random.Random, tuple[int, int]], NDArray[np.uint8]]

# SDXL's own scheduler_config.json, all of it, but for the prediction type.
SCHEDULER_CONFIG: dict[str, object] = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "clip_sample": False,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sample_max_value": 1.0,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "trained_betas": None,
    "use_karras_sigmas": False,
}
NOISE_SCHEDULE = DDPMScheduler(
    num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"
)


def build(stage: str) -> UNet2DConditionModel:
    context = FIRST_WIDTH + SECOND_WIDTH if stage == "base" else SECOND_WIDTH
    ids = 6 if stage == "base" else 5
    return UNet2DConditionModel(
        sample_size=NATIVE_PX // 8,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 1),
        attention_head_dim=(2, 3, 4),  # diffusers' name for the number of heads
        norm_num_groups=16,
        cross_attention_dim=context,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=ID_WIDTH,
        projection_class_embeddings_input_dim=SECOND_WIDTH + ids * ID_WIDTH,
    )


@dataclass(kw_only=True)
class Data:
    latents: Tensor  # bfloat16 [scenes, 4, 16, 16], unit variance
    embeddings: Tensor  # bfloat16 [scenes, 77, 192], the first encoder's 64 features first
    pooled: Tensor  # bfloat16 [scenes, 128]
    crops: Tensor  # [scenes, 2], (top, left) px
    empty: tuple[Tensor, Tensor]  # embeddings and pooled of ""


class Encoders:
    def __init__(self, folder: Path) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.pad_second = CLIPTokenizer.from_pretrained(folder / "tokenizer_2").pad_token_id
        self.first = CLIPTextModel.from_pretrained(folder / "text_encoder")
        self.second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2")

    @torch.no_grad()
    def __call__(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Embeddings [captions, 77, 192] and pooled [captions, 128], as SDXL's pipelines make them."""
        ids = token_ids(self.tokenizer, captions)
        first = self.first(ids, output_hidden_states=True).hidden_states[-2]
        out = self.second(pad_after_end(ids, self.tokenizer.eos_token_id, self.pad_second), output_hidden_states=True)
        return torch.cat([first, out.hidden_states[-2]], dim=-1).bfloat16(), out.text_embeds.bfloat16()


@torch.no_grad()
def make_data(folder: Path, count: int, seed: int, name: str = "data", draw: Draw = draw) -> Data:
    """Draws scenes, and encodes pictures and captions once; kept in `work/` for a resumed run."""
    path = WORK / f"{name}-{count}-{seed}.pt"
    if path.exists():
        return Data(**torch.load(path, weights_only=True))
    vae, encode = AutoencoderKL.from_pretrained(folder / "vae"), Encoders(folder)
    rng = random.Random(seed)
    chosen = scenes(seed, count, held_out=False)
    latents, embeddings, pooled, crops = [], [], [], []
    for start in tqdm(range(0, count, 200), desc="data"):
        part = chosen[start : start + 200]
        part_crops = [random_crop(rng) for _ in part]
        drawn = np.stack([draw(scene, rng, crop) for scene, crop in zip(part, part_crops, strict=True)])
        pictures = as_input(torch.from_numpy(drawn).permute(0, 3, 1, 2))
        latents.append((vae.encode(pictures).latent_dist.mean * vae.config.scaling_factor).bfloat16())
        both = encode([scene.caption if rng.random() < 0.4 else scene.wording(rng) for scene in part])
        embeddings.append(both[0])
        pooled.append(both[1])
        crops.append(torch.tensor(part_crops, dtype=torch.float32))
    data = Data(
        latents=torch.cat(latents),
        embeddings=torch.cat(embeddings),
        pooled=torch.cat(pooled),
        crops=torch.cat(crops),
        empty=encode([""]),
    )
    WORK.mkdir(exist_ok=True)
    torch.save(vars(data), path)
    return data


class Batches:
    """Random batches with the conditioning of one stage, and captions dropped as its pipeline drops them."""

    def __init__(self, stage: str, data: Data) -> None:
        self.stage, self.data = stage, data

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Latents, embeddings, pooled, time_ids."""
        i = torch.randint(len(self.data.latents), (BATCH,))
        embeddings, pooled = self.data.embeddings[i], self.data.pooled[i]
        chance = torch.rand(BATCH)
        empty = chance < (0.02 if self.stage == "base" else 0.10)
        embeddings[empty], pooled[empty] = self.data.empty[0], self.data.empty[1]
        if self.stage == "refiner":  # force_zeros_for_empty_prompt is false there: no caption is ""
            return self.data.latents[i], embeddings[..., FIRST_WIDTH:], pooled, self._refiner_ids(i, empty)
        zeros = chance > 0.90
        embeddings[zeros], pooled[zeros] = 0.0, 0.0
        return self.data.latents[i], embeddings, pooled, self._base_ids(i)

    def _sizes(self, share: float) -> Tensor:
        """(height, width), the native size for most; others teach that the picture does not depend on it."""
        other = torch.randint(8, 65, (BATCH, 2)).float() * 8
        return torch.where(torch.rand(BATCH, 1) < share, other, float(NATIVE_PX))

    def _base_ids(self, i: Tensor) -> Tensor:
        return torch.cat([self._sizes(0.2), self.data.crops[i], self._sizes(0.1)], dim=1)

    def _refiner_ids(self, i: Tensor, empty: Tensor) -> Tensor:
        score = torch.where(empty, NEGATIVE_SCORE, 2 + 6 * torch.rand(BATCH))
        return torch.cat([self._sizes(0.2), self.data.crops[i], score[:, None]], dim=1)


def velocity_loss(unet: UNet2DConditionModel, batches: Batches) -> Tensor:
    """The mean square error of the predicted velocity at times that are spread evenly over a stage's own."""
    latents, embeddings, pooled, ids = batches.draw()
    strata = (torch.arange(BATCH) + torch.rand(BATCH)) / BATCH
    t = (strata * TIMESTEPS[batches.stage]).long()
    clean, noise = latents.float(), torch.randn(latents.shape)
    noisy = NOISE_SCHEDULE.add_noise(clean, noise, t)
    target = NOISE_SCHEDULE.get_velocity(clean, noise, t)
    predicted = unet(
        noisy.bfloat16(),
        t,
        embeddings,
        added_cond_kwargs={"text_embeds": pooled, "time_ids": ids.bfloat16()},
    ).sample
    return F.mse_loss(predicted.float(), target)


def warm_start(refiner: UNet2DConditionModel, base: UNet2DConditionModel) -> None:
    """Copies the base's weights, and of those that take the conditioning, the columns that both stages share."""
    state = base.state_dict()
    shared_ids = SECOND_WIDTH + 4 * ID_WIDTH  # pooled, original size, crop
    for name, own in refiner.state_dict().items():
        theirs = state[name]
        if theirs.shape != own.shape:
            if name == "add_embedding.linear_1.weight":
                theirs = torch.cat([theirs[:, :shared_ids], torch.zeros(len(theirs), ID_WIDTH)], dim=1)
            else:  # cross-attention's keys and values: the second encoder's features
                theirs = theirs[:, FIRST_WIDTH:]
        own.copy_(theirs)


def train(stage: str, folder: Path) -> None:
    torch.manual_seed({"base": 3, "refiner": 4}[stage])
    data = make_data(WORK / "base", SCENES, seed=31)
    unet = build(stage)
    if stage == "refiner":
        warm_start(unet, UNet2DConditionModel.from_pretrained(WORK / "base" / "unet"))
    # On CPUs, torch's fused attention takes three times as long backwards as plain matrix products.
    unet.set_attn_processor(AttnProcessor())
    loop = Loop(stage, [unet], STEPS[stage], rate=RATE[stage])
    torch.manual_seed(100 + loop.step)
    batches = Batches(stage, data)

    loop.run(lambda: velocity_loss(unet, batches))
    trained: UNet2DConditionModel = loop.averaged(unet)
    trained.save_pretrained(folder / "unet")
    print(f"{stage}: {sum(p.numel() for p in trained.parameters()) / 1e6:.2f} M parameters, {loop.seconds:.0f} s")


if __name__ == "__main__":
    train(sys.argv[1], WORK / sys.argv[1])
