"""Loads models from one file in SDXL's original layout, and accounts for every tensor of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from sdxl.config.references import UnusableFile
from sdxl.files.header import Header, read_header
from sdxl.files.kinds import FLOATS, PARTS, some, without_ones
from sdxl.files.original_layout import open_clip_names, unet_names, vae_names
from sdxl.models.scaled import beside, read_scaled

logger = logging.getLogger("bentoml.sdxl_relay")

OF_TRAINING = ("first_stage_model.loss.", "loss.", "model_ema.")
ALL_PREFIXES = tuple({prefix for parts in PARTS.values() for prefix in parts.values()})


@dataclass(frozen=True)
class Source:
    """Where a model's tensor is in the file."""

    name: str
    third: int | None = None
    """Of queries, keys and values in one tensor, one after the other: 0, 1 or 2."""
    is_transposed: bool = False

    def of(self, tensor: Tensor) -> Tensor:
        """The model's tensor, of the one that the file has."""
        part = tensor if self.third is None else tensor.chunk(3)[self.third]
        return part.T.contiguous() if self.is_transposed else part

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape in the file of what the model has with `shape`, but for ones at its end."""
        first, *rest = reversed(shape) if self.is_transposed else shape
        return without_ones((first if self.third is None else 3 * first, *rest))


def load_parts(path: Path, folder: Path, prefixes: Mapping[str, str], dtype: torch.dtype) -> dict[str, Any]:
    """The models of one file by their names in diffusers, configured by a pipeline's `folder`.

    `prefixes`: how the names of each model's tensors begin. Raises UnusableFile unless every tensor of the models is
    there with its shape, and every tensor of the file has a place in them.
    """
    header = read_header(path)
    models = {part: _empty(part, folder) for part in prefixes}
    sources = {part: _sources(part, models[part], prefix, header) for part, prefix in prefixes.items()}
    for part in prefixes:
        _check_shapes(models[part], sources[part], header)
    _account_for_all(
        header, tuple(prefixes.values()), {each.name for part in sources.values() for each in part.values()}
    )
    with safe_open(path, framework="pt") as file:
        for part, model in models.items():
            shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
            read = {name: source.of(read_scaled(file, header, source.name)) for name, source in sources[part].items()}
            model.load_state_dict({name: read[name].reshape(shapes[name]).to(dtype) for name in shapes}, assign=True)
    return {part: model.eval() for part, model in models.items()}


def _empty(part: str, folder: Path) -> Any:
    with init_empty_weights():
        match part:
            case "unet":
                return UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(folder, subfolder=part))
            case "vae":
                return AutoencoderKL.from_config(AutoencoderKL.load_config(folder, subfolder=part))
            case "text_encoder":
                return CLIPTextModel(CLIPTextConfig.from_pretrained(folder, subfolder=part))
            case _:
                return CLIPTextModelWithProjection(CLIPTextConfig.from_pretrained(folder, subfolder=part))


def _sources(part: str, model: Any, prefix: str, header: Header) -> dict[str, Source]:
    names = list(model.state_dict())
    match part:
        case "unet":
            original = unet_names(names, model.config.layers_per_block)
        case "vae" if header.has(f"{prefix}decoder.up_blocks."):  # diffusers' layout
            original = {name: name for name in names}
        case "vae":
            original = vae_names(names, len(model.config.block_out_channels))
        case "text_encoder":
            original = {name: f"text_model.{name.removeprefix('text_model.')}" for name in names}
        case _:
            return {name: _of_open_clip(name, prefix + its, header) for name, its in open_clip_names(names).items()}
    return {name: Source(prefix + its) for name, its in original.items()}


def _of_open_clip(name: str, original: str, header: Header) -> Source:
    if name == "text_projection.weight":  # a matrix that is multiplied from the right, or a layer's weight
        return Source(original, is_transposed=True) if original in header.tensors else Source(f"{original}.weight")
    letter = re.search(r"self_attn\.([qkv])_proj", name)
    return Source(original, third="qkv".index(letter[1]) if letter else None)


def _check_shapes(model: Any, sources: Mapping[str, Source], header: Header) -> None:
    expected = {sources[name]: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    other = "it is another model's, or needs a configuration of its own (SDXL_BASE_CONFIG, SDXL_REFINER_CONFIG)"
    if missing := {source.name for source in expected if source.name not in header.tensors}:
        raise UnusableFile(f"it lacks {some(missing)}: {other}")
    for source, shape in expected.items():
        found = header.tensors[source.name].shape
        if without_ones(found) != source.shape(shape):
            raise UnusableFile(f"{source.name} has the shape {list(found)}, not {list(source.shape(shape))}: {other}")


def _account_for_all(header: Header, prefixes: tuple[str, ...], used: set[str]) -> None:
    """Raises UnusableFile for weights of the models' that would have no effect; tells of others in the log."""
    known = used.union(*(beside(name) for name in used))
    rest = [name for name in header.tensors if name not in known and not name.startswith(OF_TRAINING)]
    if own := [name for name in rest if any(_has_weights(header, name, prefix) for prefix in prefixes)]:
        raise UnusableFile(f"it has {some(own)}, for which SDXL has no place: it is another model's")
    others = [name for name in rest if not name.startswith(ALL_PREFIXES) and len(header.tensors[name].shape) > 1]
    if others:
        logger.warning("of the checkpoint's file, no use is made of %s", some(others))


def _has_weights(header: Header, name: str, prefix: str) -> bool:
    """Whether a tensor under the prefix may be a layer's.

    Integers are not, nor CLIP's numbers of positions, which some tools have made floats of; neither are single numbers
    and rows of them that belong to no layer, which are marks, CLIP's temperature or noise levels.
    """
    is_float = header.tensors[name].dtype in FLOATS and not name.endswith(".position_ids")
    if not name.startswith(prefix) or not is_float:
        return False
    return "." in name.removeprefix(prefix) or len(header.tensors[name].shape) > 1
