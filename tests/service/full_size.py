"""SDXL 1.0 in its full size, from its published configuration, with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    UNet2DConditionModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

UNETS: dict[str, dict[str, Any]] = {
    "base": {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "attention_head_dim": (5, 10, 20),
        "cross_attention_dim": 2048,
        "projection_class_embeddings_input_dim": 2816,
    },
    "refiner": {
        "block_out_channels": (384, 768, 1536, 1536),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": 4,
        "attention_head_dim": (6, 12, 24, 24),
        "cross_attention_dim": 1280,
        "projection_class_embeddings_input_dim": 2560,
    },
}
OF_BOTH_UNETS: dict[str, Any] = {
    "sample_size": 128,
    "layers_per_block": 2,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "use_linear_projection": True,
}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 1024,
    "scaling_factor": 0.13025,
    "force_upcast": True,
}
WORDS = {
    "vocab_size": 49_408,
    "max_position_embeddings": 77,
    "bos_token_id": 637,
    "eos_token_id": 638,
    "pad_token_id": 0,
}
TEXT_1 = CLIPTextConfig(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768,
    hidden_act="quick_gelu", **WORDS,
)  # fmt: skip
TEXT_2 = CLIPTextConfig(
    hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20, projection_dim=1280,
    hidden_act="gelu", **WORDS,
)  # fmt: skip
PARAMETERS = {"base": 2_567_463_684, "refiner": 2_259_526_660}  # of the UNets


def write_full_size(mini: Path, target: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Writes `target`/base and `target`/refiner, some 12 GB in half precision; tokenizer and sampler are the mini's."""
    for stage in ("base", "refiner"):
        write_stage(mini, target, stage, dtype)


def write_stage(mini: Path, target: Path, stage: str, dtype: torch.dtype) -> None:
    folder = target / stage
    shutil.copytree(mini / stage, folder, ignore=shutil.ignore_patterns("*.safetensors", "relay.json", "latent_rgb*"))
    sampler = folder / "scheduler" / "scheduler_config.json"
    sampler.write_text(json.dumps({**json.loads(sampler.read_text()), "prediction_type": "epsilon"}))
    parts = [("unet", UNet2DConditionModel, {**OF_BOTH_UNETS, **UNETS[stage]}), ("vae", AutoencoderKL, VAE)]
    for name, model_class, config in parts:
        with torch.device("meta"):
            model = model_class(**config)
        filled(model, dtype).save_pretrained(folder / name)
    texts = [("text_encoder", CLIPTextModel, TEXT_1), ("text_encoder_2", CLIPTextModelWithProjection, TEXT_2)]
    for name, text_class, text_config in texts:
        if (folder / name).is_dir():
            with torch.device("meta"):
                text = text_class(text_config)
            filled(text, dtype).save_pretrained(folder / name)


def filled(model: nn.Module, dtype: torch.dtype) -> Any:
    """Random weights that keep activations of unit variance, as fresh ones do."""
    model = model.to(dtype).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_floating_point():
                tensor.copy_(torch.arange(tensor.numel()).reshape(tensor.shape))  # position_ids
            elif name.endswith("bias"):
                tensor.zero_()
            elif tensor.ndim == 1:
                tensor.fill_(1)
            else:
                tensor.normal_(std=tensor[0].numel() ** -0.5, generator=generator)
    return model
