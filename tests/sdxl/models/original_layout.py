"""Writes a pipeline in diffusers' layout as one file in the original layout of SDXL, that of community checkpoints.

The names are those of Stability AI's generative-models; diffusers' own loader reads them back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

State = dict[str, Tensor]
RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET_ENDS = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
OPEN_CLIP = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip


def write_original(pipeline: Any, path: Path) -> None:
    """All of the pipeline's tensors in one .safetensors file."""
    state = {f"model.diffusion_model.{name}": tensor for name, tensor in unet(pipeline.unet).items()}
    state |= {f"first_stage_model.{name}": tensor for name, tensor in vae(pipeline.vae).items()}
    index = 0
    if pipeline.text_encoder is not None:
        inner = pipeline.text_encoder.state_dict()
        prefix = "conditioner.embedders.0.transformer.text_model."
        state |= {prefix + name.removeprefix("text_model."): tensor for name, tensor in inner.items()}
        index = 1
    clip = open_clip(pipeline.text_encoder_2.state_dict())
    state |= {f"conditioner.embedders.{index}.model.{name}": tensor for name, tensor in clip.items()}
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, path)


def unet(model: Any) -> State:
    resnets = model.config.layers_per_block
    return {unet_name(name, resnets): tensor for name, tensor in model.state_dict().items()}


def vae(model: Any) -> State:
    levels = len(model.config.block_out_channels)
    state = {_vae_name(name, levels): tensor for name, tensor in model.state_dict().items()}
    is_attention = re.compile(r"attn_1\.(q|k|v|proj_out)\.weight")  # 1 x 1 convolutions there
    return {name: t[:, :, None, None] if is_attention.search(name) else t for name, t in state.items()}


def open_clip(state: Mapping[str, Tensor]) -> State:
    found: State = {"text_projection": state["text_projection.weight"].T}
    for name, tensor in state.items():
        inner = name.removeprefix("text_model.")
        if inner.startswith("encoder.layers."):
            _, _, layer, part, kind = inner.replace("self_attn.", "self_attn-").replace("mlp.", "mlp-").split(".")
            part = part.replace("-", ".")
            if part in OPEN_CLIP:
                found[f"transformer.resblocks.{layer}.{OPEN_CLIP[part]}.{kind}"] = tensor
        elif inner.startswith("embeddings.token"):
            found["token_embedding.weight"] = tensor
        elif inner.startswith("embeddings.position"):
            found["positional_embedding"] = tensor
        elif inner.startswith("final_layer_norm"):
            found[inner.replace("final_layer_norm", "ln_final")] = tensor
    layers = {int(match[1]) for name in state if (match := re.search(r"layers\.(\d+)\.", name))}
    for number in layers:
        for kind in ("weight", "bias"):
            parts = [state[f"text_model.encoder.layers.{number}.self_attn.{which}_proj.{kind}"] for which in "qkv"]
            found[f"transformer.resblocks.{number}.attn.in_proj_{kind}"] = torch.cat(parts)
    return found


def unet_name(name: str, resnets: int) -> str:
    for end, original in UNET_ENDS.items():
        if name.startswith(f"{end}."):
            return name.replace(end, original, 1)
    side, rest = name.split(".", 1)
    if side == "mid_block":
        kind, place, inner = rest.split(".", 2)
        index = 1 if kind == "attentions" else 2 * int(place)
        return f"middle_block.{index}.{_resnet(inner)}"
    block, kind, place, inner = rest.split(".", 3)
    if side == "down_blocks":
        index = 1 + int(block) * (resnets + 1) + int(place)
        if kind == "downsamplers":
            return f"input_blocks.{(int(block) + 1) * (resnets + 1)}.0.{inner.replace('conv', 'op')}"
        return f"input_blocks.{index}.{int(kind == 'attentions')}.{_resnet(inner)}"
    index = int(block) * (resnets + 1) + int(place)
    if kind == "upsamplers":
        return f"output_blocks.{int(block) * (resnets + 1) + resnets}.2.{inner}"
    return f"output_blocks.{index}.{int(kind == 'attentions')}.{_resnet(inner)}"


def _resnet(inner: str) -> str:
    part, _, kind = inner.rpartition(".")
    return f"{RESNET[part]}.{kind}" if part in RESNET else inner


def _vae_name(name: str, levels: int) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("attn_1.group_norm", "attn_1.norm")
    for ours, original in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        name = name.replace(f"attn_1.{ours}", f"attn_1.{original}")
    name = re.sub(r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}.block.{m[2]}", name)
    return re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
