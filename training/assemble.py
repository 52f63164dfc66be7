"""Puts the trained parts together as two diffusers pipelines in `checkpoints/mini`, in half precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from training.loop import WORK
from training.unet import SCHEDULER_CONFIG

MINI = Path(__file__).parent.parent / "checkpoints" / "mini"
RELAY: dict[str, Any] = {
    "num_inference_steps": 30,
    "guidance_scale": 3.0,
    "refiner_guidance_scale": 1.0,
    "refine": "ensemble",
    "high_noise_frac": 0.8,
    "strength": 0.3,
    "about": {
        "name": "mini",
        "description": "It draws one or two solids: cube, sphere, cylinder or cone, in red, green, blue, yellow, "
        "purple or orange, on top of, under, left of or right of each other, on a background of these colours, "
        "white or gray.",
        "examples": [
            "a red cube on top of a blue sphere, yellow background",
            "a green cone, white background",
            "an orange cylinder left of a purple cone, gray background",
        ],
    },
}


def assemble(parts: Path, base_unet: UNet2DConditionModel, refiner_unet: UNet2DConditionModel, target: Path) -> None:
    """Writes `target`/base and `target`/refiner; the refiner shares the VAE and the second text encoder."""
    vae = AutoencoderKL.from_pretrained(parts / "vae")
    second = {
        "text_encoder_2": CLIPTextModelWithProjection.from_pretrained(parts / "text_encoder_2"),
        "tokenizer_2": CLIPTokenizer.from_pretrained(parts / "tokenizer_2"),
    }
    scheduler = EulerDiscreteScheduler.from_config(SCHEDULER_CONFIG)
    base = StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel.from_pretrained(parts / "text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained(parts / "tokenizer"),
        unet=base_unet,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
        **second,
    )
    refiner = StableDiffusionXLImg2ImgPipeline(
        vae=vae,
        text_encoder=None,
        tokenizer=None,
        unet=refiner_unet,
        scheduler=scheduler,
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
        **second,
    )
    for name, pipeline in (("base", base), ("refiner", refiner)):
        folder = target / name
        pipeline.to(dtype=torch.float16).save_pretrained(folder)
        # EulerDiscreteScheduler leaves out the keys that only other samplers read.
        config = {"_class_name": "EulerDiscreteScheduler", **SCHEDULER_CONFIG}
        (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config, indent=2) + "\n")
        # The tensors are halves to save space; without a dtype asked for, all is to load as float32.
        for path in folder.glob("text_encoder*/config.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "dtype": "float32"}, indent=2) + "\n")
        # Where the parts lay while they were trained is nobody's business.
        for path in folder.glob("*/config.json"):
            config = json.loads(path.read_text())
            config.pop("_name_or_path", None)
            path.write_text(json.dumps(config, indent=2) + "\n")
        (folder / "relay.json").write_text(json.dumps(RELAY, indent=2) + "\n")


def main() -> None:
    unets = [UNet2DConditionModel.from_pretrained(WORK / stage / "unet") for stage in ("base", "refiner")]
    assemble(WORK / "base", unets[0], unets[1], MINI)
    size = sum(path.stat().st_size for path in MINI.rglob("*") if path.is_file())
    print(f"{MINI}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
