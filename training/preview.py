"""Fits the linear map from latents to colours that previews are made by, over the VAE of a checkpoint."""

from __future__ import annotations

import json

import torch
from diffusers import AutoencoderKL

from training.assemble import MINI
from training.vae import pictures

COUNT = 512


def fit(vae: AutoencoderKL, count: int = COUNT) -> dict[str, object]:
    """Least squares over drawn scenes; also says what it explains of the colours' variance."""
    scenes = pictures(count, seed=7).float() / 127.5 - 1
    with torch.inference_mode():
        latents = torch.cat([vae.encode(part).latent_dist.mean for part in scenes.split(16)])
    latents = latents * vae.config.scaling_factor
    inputs = latents.permute(0, 2, 3, 1).reshape(-1, 4)
    colours = torch.nn.functional.avg_pool2d(scenes, 8).permute(0, 2, 3, 1).reshape(-1, 3)
    with_one = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    solution = torch.linalg.lstsq(with_one, colours).solution
    error = (with_one @ solution - colours).var(dim=0) / colours.var(dim=0)
    print(f"explained of the colours' variance: {[round(1 - share, 3) for share in error.tolist()]}")
    rounded = [[round(value, 4) for value in row] for row in solution.tolist()]
    return {"weights": rounded[:4], "bias": rounded[4]}


def main() -> None:
    fitted = fit(AutoencoderKL.from_pretrained(MINI / "base" / "vae", torch_dtype=torch.float32))
    for stage in ("base", "refiner"):
        (MINI / stage / "latent_rgb.json").write_text(json.dumps(fitted) + "\n")


if __name__ == "__main__":
    main()
