"""What the GPU benchmark measures with: SDXL's two stages with random weights, and what they must compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTokenizer

from benchmarks.full_size import filled, models
from sdxl.config.settings import MINI

SAMPLER = {
    **{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "epsilon"},
    **{"timestep_spacing": "leading", "steps_offset": 1, "num_train_timesteps": 1000},
}


def make_pipelines(dtype: torch.dtype, device: str, *, small: bool) -> dict[str, Any]:
    """Base and refiner as diffusers has them, on the device, each with all that it needs, as in two processes."""
    parts = {
        stage: {name: filled(model, dtype, device) for name, model in models(stage, small=small).items()}
        for stage in ("base", "refiner")
    }
    tokenizer = CLIPTokenizer.from_pretrained(MINI / "base" / "tokenizer_2")
    options: dict[str, Any] = {"tokenizer_2": tokenizer, "add_watermarker": False}
    base = StableDiffusionXLPipeline(
        **parts["base"], **options, tokenizer=tokenizer, scheduler=EulerDiscreteScheduler(**SAMPLER)
    )
    refiner = StableDiffusionXLImg2ImgPipeline(
        **parts["refiner"],
        **options,
        text_encoder=None,
        tokenizer=None,
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
        scheduler=EulerDiscreteScheduler(**SAMPLER),
    )
    pipelines = {"base": base, "refiner": refiner}
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


@dataclass(frozen=True, kw_only=True)
class Flops:
    """What one row and step of each UNet, and a decoding, must compute: two for each multiplication and addition."""

    base: int
    refiner: int
    vae: int

    def of_picture(self, base_steps: int, refiner_steps: int) -> int:
        """With guidance, two rows a step."""
        return 2 * base_steps * self.base + 2 * refiner_steps * self.refiner + self.vae


def count_flops(side_px: int, *, small: bool) -> Flops:
    """Of a square picture; counted by torch on models without memory."""
    parts = {stage: models(stage, small=small) for stage in ("base", "refiner")}
    side = side_px // 8
    counted: dict[str, int] = {}
    with torch.device("meta"), torch.inference_mode():
        for stage, ids in (("base", 6), ("refiner", 5)):
            unet = parts[stage]["unet"]
            pooled = unet.config.projection_class_embeddings_input_dim - ids * unet.config.addition_time_embed_dim
            with FlopCounterMode(display=False) as counter:
                unet(
                    torch.empty(1, 4, side, side),
                    torch.empty(1),
                    encoder_hidden_states=torch.empty(1, 77, unet.config.cross_attention_dim),
                    added_cond_kwargs={"text_embeds": torch.empty(1, pooled), "time_ids": torch.empty(1, ids)},
                )
            counted[stage] = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            parts["base"]["vae"].decode(torch.empty(1, 4, side, side))
    return Flops(base=counted["base"], refiner=counted["refiner"], vae=counter.get_total_flops())
