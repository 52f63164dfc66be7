"""How LoRA files name a model's layers, and what each of their tensors is to a layer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from sdxl.files.original_layout import unet_names
from sdxl.models.changes import LAYERS

PARTS = ("unet", "text_encoder", "text_encoder_2")
Place = tuple[str, str]
"""A part of a pipeline, and the name of a layer in it."""

# How names of each part's layers begin: with dots in the files of diffusers, ComfyUI and OneTrainer (`clip_l`, and the
# original layout after `unet`), with underscores in those of kohya and of LyCORIS by itself (`lycoris`).
DOTTED = {
    "unet": ("unet.", "", "base_model.model."),
    "text_encoder": ("text_encoder.", "text_encoders.clip_l.transformer.", "clip_l.transformer.", "clip_l."),
    "text_encoder_2": ("text_encoder_2.", "text_encoders.clip_g.transformer.", "clip_g.transformer.", "clip_g."),
}
KOHYA = {
    "unet": ("lora_unet_", "lycoris_"),
    "text_encoder": ("lora_te1_", "lora_te_"),
    "text_encoder_2": ("lora_te2_",),
}
ORIGINAL_UNET = ("diffusion_model.", "model.diffusion_model.", "unet.")

# kohya's, PEFT's, and diffusers' own of several ages, as in `attn1.processor.to_q_lora.down.weight`.
LOW_RANK = re.compile(r"(?P<layer>.+?)[._]lora(_linear_layer)?[._](?P<role>down|up|mid|A|B)(\.\w+)?\.weight")
OTHERS = re.compile(
    r"(?P<layer>.+)\.(?P<role>alpha|dora_scale|hada_(w[12]_[ab]|t[12])|lokr_(w[12](_[ab])?|t2)|diff|diff_b|w_norm|b_norm)"
    r"|(?P<peft>.+)\.lora_magnitude_vector(\.\w+)*"
)
SAME = {"A": "down", "B": "up", "w_norm": "diff", "b_norm": "diff_b"}


def split(name: str) -> tuple[str, str] | None:
    """The layer of a tensor and its role, of those that `sdxl.models.lora_file` knows; None for others."""
    match = LOW_RANK.fullmatch(name) or OTHERS.fullmatch(name)
    if match is None:
        return None
    role = match["role"] or "magnitude"
    layer = match["layer"] if match["role"] else match["peft"]
    layer = re.sub(r"\.processor\.(to_\w+)$", r".\1", layer)
    return re.sub(r"(\.|_)to_out$", r"\1to_out\g<1>0", layer), SAME.get(role, role)


@dataclass(frozen=True, kw_only=True, eq=False)
class Layers:
    """A pipeline's layers that can be changed."""

    places: Mapping[str, Place]
    """By each name that a file may have for them."""
    modules: Mapping[Place, nn.Module]
    parents: Mapping[Place, tuple[nn.Module, str]]
    """What each is in, and its name there."""

    @property
    def parts(self) -> list[str]:
        """The parts that the pipeline has."""
        return sorted({part for part, _ in self.modules}, key=PARTS.index)


def layers_of(pipeline: Any) -> Layers:
    """Those that are there now."""
    names = dict(_named(pipeline))
    models = {part: getattr(pipeline, part) for part in PARTS if getattr(pipeline, part, None) is not None}
    found = set(names.values())
    return Layers(
        places=names,
        modules={(part, name): models[part].get_submodule(name) for part, name in found},
        parents={
            (part, name): (models[part].get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
            for part, name in found
        },
    )


def _named(pipeline: Any) -> Iterator[tuple[str, Place]]:
    for part in PARTS:
        model = getattr(pipeline, part, None)
        if model is None:
            continue
        names = [name for name, module in model.named_modules() if isinstance(module, LAYERS)]
        original = unet_names(names, model.config.layers_per_block) if part == "unet" else {}
        for name in names:
            place = (part, name)
            own = {name, f"text_model.{name}", name.removeprefix("text_model.")} if part != "unet" else {name}
            yield from ((prefix + each, place) for each in own for prefix in DOTTED[part])
            yield from ((prefix + original[name], place) for prefix in ORIGINAL_UNET if original)
            own |= {original[name]} if original else set()
            yield from ((prefix + each.replace(".", "_"), place) for each in own for prefix in KOHYA[part])
