"""The names of SDXL's tensors in its original layout, that of checkpoints in one file and of most LoRAs.

They are those of Stability AI's generative-models, whose blocks are counted from the first to the last of a side.
"""

from __future__ import annotations

import re
from collections.abc import Collection

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0", "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET_ENDS = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
VAE = (
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"attn_1\.group_norm", "attn_1.norm"),
    (r"attn_1\.to_([qkv])", r"attn_1.\1"),
    (r"attn_1\.to_out\.0", "attn_1.proj_out"),
    (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d+)\.resnets\.(\d+)", r"up.\1.block.\2"),
    (r"up_blocks\.(\d+)\.upsamplers\.0", r"up.\1.upsample"),
)
OPEN_CLIP = (
    (r"^text_projection\.weight$", "text_projection"),
    (r"^(text_model\.)?embeddings\.token_embedding", "token_embedding"),
    (r"^(text_model\.)?embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^(text_model\.)?final_layer_norm", "ln_final"),
    (r"^(text_model\.)?encoder\.layers", "transformer.resblocks"),
    (r"layer_norm([12])", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"self_attn\.[qkv]_proj\.", "attn.in_proj_"),
)


def unet_names(names: Collection[str], resnets: int) -> dict[str, str]:
    """Of a UNet's tensors or modules by their names in diffusers. Each of its down blocks has so many `resnets`."""
    with_attention = {match[0] for name in names if (match := re.match(r"up_blocks\.\d+\.(?=attentions)", name))}
    return {name: _unet_name(name, resnets, with_attention) for name in names}


def vae_names(names: Collection[str], levels: int) -> dict[str, str]:
    """Of a VAE's, which has so many `levels` of size; the original counts those of its decoder from the last."""
    return {name: _up_from_the_last(_renamed(name, VAE), levels) for name in names}


def open_clip_names(names: Collection[str]) -> dict[str, str]:
    """Of text encoder 2's. Its queries, keys and values are one tensor, so that three names have the same there."""
    return {name: _renamed(name, OPEN_CLIP) for name in names}


def _unet_name(name: str, resnets: int, with_attention: Collection[str]) -> str:
    for end, original in UNET_ENDS.items():
        if name == end or name.startswith(f"{end}."):
            return name.replace(end, original, 1)
    side, rest = name.split(".", 1)
    if side == "mid_block":
        kind, place, inner = rest.split(".", 2)
        index = 1 if kind == "attentions" else 2 * int(place)
        return f"middle_block.{index}.{_resnet(inner)}"
    block, kind, place, inner = rest.split(".", 3)
    first = int(block) * (resnets + 1)  # of the block's layers, and its down- or upsampler is the last of them
    match side, kind:
        case "down_blocks", "downsamplers":
            return f"input_blocks.{first + resnets + 1}.0.{inner.replace('conv', 'op', 1)}"
        case "down_blocks", _:
            return f"input_blocks.{1 + first + int(place)}.{int(kind == 'attentions')}.{_resnet(inner)}"
        case _, "upsamplers":
            return f"output_blocks.{first + resnets}.{1 + (f'up_blocks.{block}.' in with_attention)}.{inner}"
        case _:
            return f"output_blocks.{first + int(place)}.{int(kind == 'attentions')}.{_resnet(inner)}"


def _resnet(inner: str) -> str:
    part, _, kind = inner.partition(".")
    return ".".join(filter(None, (RESNET[part], kind))) if part in RESNET else inner


def _renamed(name: str, changes: Collection[tuple[str, str]]) -> str:
    for pattern, original in changes:
        name = re.sub(pattern, original, name)
    return name


def _up_from_the_last(name: str, levels: int) -> str:
    return re.sub(r"\bup\.(\d+)", lambda match: f"up.{levels - 1 - int(match[1])}", name)
