"""Trains the VAE: 128 x 128 pictures to latents [4, 16, 16] of zero mean and (times 0.13025) unit variance."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from training.loop import WORK, Loop
from training.scenes import draw, scenes

PICTURES = 10_000
STEPS = 5_600
WHOLE_FROM = 0.6  # from this share of the steps on, whole pictures instead of crops
CROP_PX = 64
SCALING_FACTOR = 0.13025  # SDXL's own


def build() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 96),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=16,
        sample_size=128,
        scaling_factor=SCALING_FACTOR,
        force_upcast=False,
    )


def pictures(count: int, seed: int) -> Tensor:
    """Drawn training scenes, uint8 [count, 3, 128, 128]."""
    rng = random.Random(seed)
    drawn = np.stack([draw(scene, rng, crop=random_crop(rng)) for scene in scenes(seed, count, held_out=False)])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()


def random_crop(rng: random.Random) -> tuple[int, int]:
    """(top, left) in pixels; most pictures are not cropped."""
    return (rng.randint(0, 14), rng.randint(0, 14)) if rng.random() < 0.15 else (0, 0)


def as_input(picture: Tensor) -> Tensor:
    """uint8 to -1 ... 1."""
    return picture.float() / 127.5 - 1


def train() -> AutoencoderKL:
    torch.manual_seed(1)
    vae = build()
    with torch.no_grad():  # the second half of quant_conv's output is the log variance
        vae.quant_conv.bias[4:] = -6.0
    loop = Loop("vae", [vae], STEPS, rate=2.2e-3, flat_share=0.35, weight_decay=0.0)
    data = pictures(PICTURES, seed=11)

    def loss_of() -> Tensor:
        whole = loop.step >= WHOLE_FROM * STEPS
        batch = as_input(data[torch.randint(len(data), (6 if whole else 20,))])
        if not whole:
            top, left = torch.randint(128 - CROP_PX + 1, (2,)).tolist()
            batch = batch[:, :, top : top + CROP_PX, left : left + CROP_PX]
        batch = batch.to(torch.bfloat16)
        posterior = vae.encode(batch).latent_dist
        rebuilt = vae.decode(posterior.sample()).sample
        error = (rebuilt - batch).float()
        return error.abs().mean() + error.square().mean() + 1e-6 * posterior.kl().float().mean()

    loop.run(loss_of)
    trained: AutoencoderKL = loop.averaged(vae).eval()
    fold_statistics(trained, data[:2000])
    return trained


@torch.no_grad()
def fold_statistics(vae: AutoencoderKL, data: Tensor) -> None:
    """Gives each latent channel zero mean and a deviation of 1 / scaling factor, inside the two 1 x 1 convolutions.

    With z' = (z - mean) * gain, the encoder's last convolution makes z' and the decoder's first undoes it.
    """
    z = torch.cat([vae.encode(as_input(part)).latent_dist.mean for part in data.split(100)])
    mean, gain = z.mean((0, 2, 3)), 1 / (SCALING_FACTOR * z.std((0, 2, 3)))
    quant, post = vae.quant_conv, vae.post_quant_conv
    quant.weight[:4] *= gain[:, None, None, None]
    quant.bias[:4] = (quant.bias[:4] - mean) * gain
    quant.bias[4:] += 2 * gain.log()
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight /= gain[None, :, None, None]


@torch.no_grad()
def psnr_db(vae: AutoencoderKL, data: Tensor) -> float:
    """Peak signal-to-noise ratio of a way through the VAE and back, dB."""
    rebuilt = torch.cat([vae.decode(vae.encode(as_input(part)).latent_dist.mean).sample for part in data.split(50)])
    error = (rebuilt.clamp(-1, 1) - as_input(data)) / 2
    return float(-10 * error.square().mean().log10())


def main(folder: Path = WORK / "base" / "vae") -> None:
    vae = train()
    print(
        f"{sum(p.numel() for p in vae.parameters()) / 1e6:.2f} M parameters, {psnr_db(vae, pictures(200, 12)):.2f} dB"
    )
    vae.save_pretrained(folder)


if __name__ == "__main__":
    main()
