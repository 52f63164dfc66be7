"""Reads a LoRA file of any trainer, and accounts for every tensor of it."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sdxl.config.references import UnusableFile
from sdxl.files.header import Header, read_header
from sdxl.files.kinds import check_lora, some, without_ones
from sdxl.models.changes import (
    BiasDifference,
    Change,
    Decomposed,
    Difference,
    Hadamard,
    Kronecker,
    LowRank,
    rebuilt,
    weight_of,
)
from sdxl.models.finite import is_finite
from sdxl.models.lora_names import Layers, Place, split

PEFT_METADATA = "lora_adapter_metadata"  # of diffusers' files
Roles = dict[str, Tensor]
Scaling = Callable[[int], float]
"""The factor of a change, by its rank, where the file has no alpha for it."""


def read_lora(path: Path, layers: Layers) -> dict[Place, list[Change]]:
    """What the file changes in a pipeline's layers.

    Raises UnusableFile unless every tensor of it is for a layer that they have, fits that, and holds only numbers.
    """
    header = read_header(path)
    check_lora(header)
    settings = _peft_settings(header)
    found = {}
    for (part, name), roles in _by_layer(load_file(path), layers).items():
        layer = layers.modules[part, name]
        try:
            found[part, name] = changes_of(_as_weights(roles, layer), layer, _peft_scaling(settings, part, name))
        except (UnusableFile, RuntimeError, KeyError) as error:  # torch's of shapes, and half of what belongs together
            shapes = ", ".join(f"{role} {list(tensor.shape)}" for role, tensor in sorted(roles.items()))
            own = list(weight_of(layer).shape)
            raise UnusableFile(f"{part}.{name} {own} cannot be changed by {shapes}: {error}") from error
    return found


def changes_of(roles: Roles, layer: nn.Module, scaling: Scaling) -> list[Change]:
    """What the tensors of one layer say together. Raises UnusableFile or torch's RuntimeError for what does not fit."""
    roles = dict(roles)
    alpha, magnitude = roles.pop("alpha", None), roles.pop("dora_scale", None)
    if (rows := roles.pop("magnitude", None)) is not None:
        magnitude = rows.flatten()  # PEFT has those of rows in the shape of the layer's outputs

    def scale(rank: int) -> float:
        return scaling(rank) if alpha is None else (float(alpha) or rank) / rank  # with 0, kohya's means the rank

    changes: list[Change] = []
    if (bias := roles.pop("diff_b", None)) is not None:
        changes.append(BiasDifference(difference=_shaped(bias, weight_of(layer).shape[:1])))
    if roles or not changes:
        change = _change(roles, weight_of(layer).shape, scale)
        changes.append(change if magnitude is None else Decomposed.of(change, magnitude, layer))
        if not isinstance(change, LowRank) or change.mid is not None:
            change.delta(layer)  # which shows whether it fits
    return changes


def _change(roles: Roles, own: torch.Size, scale: Scaling) -> Change:
    """Of a weight of the shape `own`."""
    kind = {role.partition("_")[0] for role in roles}
    if roles.keys() == {"diff"}:
        return Difference(difference=_shaped(roles["diff"], own))
    if roles.keys() == {"down", "up"}:
        down, up = roles["down"], roles["up"]
        rank, ones = down.shape[0], [1] * (len(own) - 2)
        return LowRank(down=_shaped(down, (rank, *own[1:])), up=_shaped(up, (own[0], rank, *ones)), scale=scale(rank))
    if roles.keys() == {"down", "mid", "up"} and len(own) == 4:
        return LowRank(**roles, scale=scale(roles["down"].shape[0]))
    if kind == {"hada"}:
        pairs = [(roles.pop(f"hada_{each}_a"), roles.pop(f"hada_{each}_b")) for each in ("w1", "w2")]
        cores = (roles.pop("hada_t1"), roles.pop("hada_t2")) if "hada_t1" in roles else None
        return Hadamard(pairs=(pairs[0], pairs[1]), cores=cores, scale=scale(pairs[0][1].shape[0]))
    if kind == {"lokr"}:
        ranks = [roles[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in roles]
        left, right = (_factor(roles, each) for each in ("w1", "w2"))
        return Kronecker(left=left, right=right, scale=scale(ranks[0]) if ranks else 1.0)
    raise UnusableFile("no such change is known, or a part of it is missing")


def _factor(roles: Roles, name: str) -> Tensor:
    """One side of a Kronecker product: whole, of low rank, or of low rank around a core."""
    if f"lokr_{name}" in roles:
        return roles[f"lokr_{name}"]
    out, into, core = roles[f"lokr_{name}_a"], roles[f"lokr_{name}_b"], roles.get(f"lokr_t{name[1:]}")
    return out @ into if core is None else rebuilt(core, out, into)


def _shaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """With the shape, of which only ones at the end may be left out or too many. Raises UnusableFile."""
    if without_ones(tensor.shape) != without_ones(shape):
        raise UnusableFile("their shapes do not belong together")
    return tensor.reshape(shape)


def _by_layer(tensors: Mapping[str, Tensor], layers: Layers) -> dict[Place, Roles]:
    known = layers.places
    found: dict[Place, Roles] = defaultdict(dict)
    strange, homeless = [], []
    for name, tensor in tensors.items():
        if not tensor.numel():
            continue  # a mark, as v_pred is
        layer, role = split(name) or (None, "")
        if layer is None:
            strange.append(name)
        elif layer not in known:
            homeless.append(name)
        elif role in found[known[layer]]:
            raise UnusableFile(f"{'.'.join(known[layer])} has two of its tensors, one of them {name}")
        else:
            found[known[layer]][role] = tensor
    if homeless:
        raise UnusableFile(
            f"it has {some(homeless)}, and this model's {', '.join(layers.parts)} no such layer: it is another model's"
        )
    if strange:
        raise UnusableFile(f"it has {some(strange)}, which cannot be applied: it is no change of a layer")
    return found


def _as_weights(roles: Roles, layer: nn.Module) -> Roles:
    """As the layer has its weight. Raises UnusableFile for NaN and infinity."""
    own = weight_of(layer)
    moved = {role: tensor.to(own.device, own.dtype) for role, tensor in roles.items()}
    for role, tensor in moved.items():
        if not is_finite(tensor):
            raise UnusableFile(f"there is NaN or infinity in its {role}")
    return moved


def _peft_settings(header: Header) -> dict[str, Any]:
    """Raises UnusableFile for anything but a JSON object."""
    try:
        settings = json.loads(header.metadata.get(PEFT_METADATA, "{}"))
    except ValueError:
        settings = None
    if not isinstance(settings, dict):
        raise UnusableFile(f"its metadata {PEFT_METADATA} is no JSON object; write the LoRA again")
    return settings


def _peft_scaling(settings: Mapping[str, Any], part: str, name: str) -> Scaling:
    """By what diffusers writes into the file's metadata; without it, the factor is 1."""
    patterns = settings.get(f"{part}.alpha_pattern") or {}
    own = (alpha for pattern, alpha in patterns.items() if re.match(rf"(.*\.)?({pattern})$", name))
    alpha = next(own, settings.get(f"{part}.lora_alpha"))
    power = 0.5 if settings.get(f"{part}.use_rslora") else 1.0
    return lambda rank: 1.0 if alpha is None else alpha / rank**power
