"""SDXL 1.0 in its full size, from its published configuration, with random weights; or the same kind, small."""

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
SMALL_UNET: dict[str, Any] = {
    **{"block_out_channels": (32, 64), "attention_head_dim": (2, 4), "transformer_layers_per_block": (1, 1)},
    **{"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "layers_per_block": 1, "sample_size": 16},
    **{"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "norm_num_groups": 8, "addition_time_embed_dim": 8},
}
SMALL_INPUTS: dict[str, dict[str, Any]] = {
    "base": {"cross_attention_dim": 32, "projection_class_embeddings_input_dim": 6 * 8 + 16},
    "refiner": {"cross_attention_dim": 16, "projection_class_embeddings_input_dim": 5 * 8 + 16},
}
SMALL_VAE = {"block_out_channels": (8, 8, 8, 16), "layers_per_block": 1, "sample_size": 128, "norm_num_groups": 4}
SMALL_TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "projection_dim": 16}  # fmt: skip
PARAMETERS = {"base": 2_567_463_684, "refiner": 2_259_526_660}  # of the UNets


def write_full_size(mini: Path, target: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Writes `target`/base and `target`/refiner, 13 GB in half precision; tokenizer and sampler are the mini's."""
    for stage in ("base", "refiner"):
        write_stage(mini, target, stage, dtype)


def write_stage(mini: Path, target: Path, stage: str, dtype: torch.dtype) -> None:
    folder = target / stage
    shutil.copytree(mini / stage, folder, ignore=shutil.ignore_patterns("*.safetensors", "relay.json", "latent_rgb*"))
    sampler = folder / "scheduler" / "scheduler_config.json"
    sampler.write_text(json.dumps({**json.loads(sampler.read_text()), "prediction_type": "epsilon"}))
    for name, model in models(stage).items():
        filled(model, dtype).save_pretrained(folder / name, max_shard_size="20GB")


def models(stage: str, *, small: bool = False) -> dict[str, Any]:
    """A stage's models, without memory for their weights; with `small`, of the same kind and some thousand weights."""
    unet = {**OF_BOTH_UNETS, **UNETS[stage], **(SMALL_UNET | SMALL_INPUTS[stage] if small else {})}
    words = [CLIPTextConfig(**{**text.to_dict(), **(SMALL_TEXT if small else {})}) for text in (TEXT_1, TEXT_2)]
    with torch.device("meta"):
        made = {
            "unet": UNet2DConditionModel(**unet),
            "vae": AutoencoderKL(**{**VAE, **(SMALL_VAE if small else {})}),
            "text_encoder_2": CLIPTextModelWithProjection(words[1]),
        }
        return {**made, "text_encoder": CLIPTextModel(words[0])} if stage == "base" else made


def filled(model: nn.Module, dtype: torch.dtype, device: str = "cpu") -> Any:
    """Random weights that keep activations of unit variance, as fresh ones do; always the same on a device."""
    model = model.to(dtype).to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
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
