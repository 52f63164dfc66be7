"""Judges the pair's pictures of held-out prompts: `python -m training.evaluate [COUNT]`.

With diffusers' own pipelines, float32, 30 Euler steps, one seed a picture, so that base alone and base with
refiner start from the same noise. The table goes to standard output, a grid of 48 pictures to `work/`.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from training.assemble import MINI, RELAY
from training.judge import judge, mottle
from training.loop import WORK
from training.scenes import Scene, draw, scenes
from training.vae import as_input

STEPS = 30
BATCH = 16
HELD_OUT_SEED = 4242  # not one that any training or tuning has used
CUTOFF = 0.8

Pictures = NDArray[np.uint8]  # [pictures, 128, 128, 3]


class Pair:
    """The two pipelines as the model cards use them."""

    def __init__(self) -> None:
        self.base = StableDiffusionXLPipeline.from_pretrained(MINI / "base", add_watermarker=False)
        self.refiner = StableDiffusionXLImg2ImgPipeline.from_pretrained(MINI / "refiner", add_watermarker=False)
        for pipeline in (self.base, self.refiner):
            pipeline.set_progress_bar_config(disable=True)

    def pictures(self, chosen: list[Scene], guidance: float, refiner_guidance: float | None) -> Pictures:
        """Without a guidance for the refiner, the base alone."""
        made = []
        starts = range(0, len(chosen), BATCH)
        for start in tqdm(starts, desc=f"guidance {guidance}, refiner {refiner_guidance}"):
            prompts = [scene.caption for scene in chosen[start : start + BATCH]]
            generators = [torch.Generator("cpu").manual_seed(start + i) for i in range(len(prompts))]
            common: dict[str, Any] = {
                "prompt": prompts,
                "num_inference_steps": STEPS,
                "generator": generators,
            }
            if refiner_guidance is None:
                result = self.base(guidance_scale=guidance, output_type="np", **common)
            else:
                latents = self.base(guidance_scale=guidance, output_type="latent", denoising_end=CUTOFF, **common)
                result = self.refiner(
                    image=latents.images,
                    guidance_scale=refiner_guidance,
                    output_type="np",
                    denoising_start=CUTOFF,
                    **common,
                )
            made.append((result.images * 255).round().astype(np.uint8))
        return np.concatenate(made)


def drawn(chosen: list[Scene]) -> Pictures:
    rng = random.Random(HELD_OUT_SEED)
    return np.stack([draw(scene, rng) for scene in chosen])


@torch.no_grad()
def through_vae(vae: AutoencoderKL, chosen: list[Scene]) -> Pictures:
    clean = as_input(torch.from_numpy(drawn(chosen)).permute(0, 3, 1, 2))
    rebuilt = torch.cat([vae.decode(vae.encode(part).latent_dist.mode()).sample for part in clean.split(50)])
    levels: Pictures = ((rebuilt.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).byte().numpy()
    return levels


def unevenness(pictures: Pictures, chosen: list[Scene]) -> NDArray[np.float64]:
    """`mottle` of each picture, in levels."""
    return np.array([mottle(picture, scene) for picture, scene in zip(pictures, chosen, strict=True)])


def table_row(name: str, pictures: Pictures, chosen: list[Scene]) -> str:
    verdicts = [judge(picture, scene) for picture, scene in zip(pictures, chosen, strict=True)]
    colours = [ok for v in verdicts for ok in v.colours]
    solids = [ok for v in verdicts for ok in v.solids]
    shares = [
        np.mean([v.background for v in verdicts]),
        np.mean(colours),
        np.mean(solids),
        np.mean([v.relation for v in verdicts]),
        np.mean([v.all_right for v in verdicts]),
    ]
    uneven = unevenness(pictures, chosen).mean()
    return f"| {name} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + f" | {uneven:.3f} |"


def grid(pictures: Pictures, columns: int = 12) -> Image.Image:
    rows = [np.concatenate(list(pictures[i : i + columns]), axis=1) for i in range(0, len(pictures), columns)]
    return Image.fromarray(np.concatenate(rows, axis=0))


def compared(base: Pictures, refined: Pictures, chosen: list[Scene]) -> str:
    """Picture by picture, for each starts from the same noise both ways."""
    without, with_refiner = unevenness(base, chosen), unevenness(refined, chosen)
    less = (without - with_refiner).mean()
    error = (without - with_refiner).std() / np.sqrt(len(chosen))
    share = (with_refiner < without).mean()
    return (
        f"The refiner takes {less:.4f} levels of unevenness away (standard error {error:.4f});"
        f" {100 * share:.0f}% of the pictures are more even with it."
    )


def main(count: int) -> None:
    pair = Pair()
    guidance, refiner_guidance = RELAY["guidance_scale"], RELAY["refiner_guidance_scale"]
    chosen = scenes(HELD_OUT_SEED, count, held_out=True)
    base = pair.pictures(chosen, guidance, None)
    refined = pair.pictures(chosen, guidance, refiner_guidance)
    ways = {
        "drawn scenes (the judge itself)": drawn(chosen),
        "through the VAE and back": through_vae(pair.base.vae, chosen),
        f"base alone, guidance {guidance}": base,
        f"ensemble (0.8), guidance {guidance} and {refiner_guidance}: the defaults": refined,
        "base alone, guidance 5": pair.pictures(chosen, 5.0, None),
        "ensemble (0.8), guidance 5 in both": pair.pictures(chosen, 5.0, 5.0),
    }
    WORK.mkdir(exist_ok=True)
    grid(refined[:48]).save(WORK / "grid.png")
    print(f"| {count} held-out prompts | background | colour | solid | relation | all right | unevenness |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(table_row(name, pictures, chosen) for name, pictures in ways.items()))
    print(f"\n{compared(base, refined, chosen)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
