"""Parts that several models have in common, kept once: most fine-tunes have the VAE and the text encoders of others."""

from __future__ import annotations

import hashlib
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn

PARTS = ("vae", "text_encoder", "text_encoder_2")


class SharedParts:
    """Those of all pipelines that are in use; of one thread at a time."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[tuple[str, str], nn.Module] = WeakValueDictionary()

    def share(self, pipeline: Any) -> None:
        """Gives the pipeline the parts of others that are the same to the bit; before it is on its device."""
        for name in PARTS:
            part = getattr(pipeline, name, None)
            if part is not None:
                shared = self._known.setdefault((name, digest_of(part)), part)
                pipeline.register_modules(**{name: shared})


def digest_of(model: Any) -> str:
    """SHA-256 over the names, shapes, types and bytes of a model's tensors, and its configuration."""
    config = model.config if isinstance(model.config, dict) else model.config.to_dict()  # diffusers', transformers'
    values = sorted((name, repr(value)) for name, value in config.items() if name != "_name_or_path")
    total = hashlib.sha256(repr(values).encode())
    for name, tensor in sorted(model.state_dict().items()):
        total.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        total.update(memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()))
    return total.hexdigest()


def parts_of(pipeline: Any) -> dict[object, int]:
    """Bytes of each of a pipeline's models, by its identity while it is there."""
    models = [model for model in pipeline.components.values() if isinstance(model, nn.Module)]
    return {id(model): sum(tensor.nbytes for tensor in model.state_dict().values()) for model in models}
