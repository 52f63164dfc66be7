"""What AUTOMATIC1111's clients are offered to choose from: models, LoRAs, VAEs, textual inversions, upscalers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from entry.automatic1111.upscalers import UPSCALERS
from entry.fleet.names import each_once
from sdxl.handoff.offer import Offer, OfferedFile

SHORT_HASH = 10  # hex digits of a SHA-256 that AUTOMATIC1111 shows


def title_of(model: OfferedFile) -> str:
    """What AUTOMATIC1111 calls a checkpoint. Its hash is known once it has been loaded."""
    return f"{model.file} [{model.sha256[:SHORT_HASH]}]" if model.sha256 else model.file


def model_items(offers: Iterable[Offer]) -> list[dict[str, Any]]:
    """Of `GET /sdapi/v1/sd-models`. A hash is known once the model has been loaded."""
    return [
        {
            "title": title_of(model),
            "model_name": model.name,
            "hash": model.sha256 and model.sha256[:SHORT_HASH],
            "sha256": model.sha256,
            "filename": model.file,
            "config": None,
        }
        for model in each_once(model for offer in offers for model in offer.models)
    ]


def lora_items(offers: Iterable[Offer]) -> list[dict[str, Any]]:
    """Of `GET /sdapi/v1/loras`: what a prompt may name as `<lora:name:scale>`."""
    return [
        {"name": lora.name, "alias": lora.name.rpartition("/")[2], "path": lora.file, "metadata": {}}
        for lora in each_once(lora for offer in offers for lora in offer.loras)
    ]


def vae_items(offers: Iterable[Offer]) -> list[dict[str, Any]]:
    """Of `GET /sdapi/v1/sd-vae`. Which model has which is up to the catalog."""
    return [
        {"model_name": vae.name, "filename": vae.file}
        for vae in each_once(vae for offer in offers for vae in offer.vaes)
    ]


def embedding_items(offers: Iterable[Offer]) -> dict[str, Any]:
    """Of `GET /sdapi/v1/embeddings`: what a prompt may name as a word."""
    found = each_once(embedding for offer in offers for embedding in offer.embeddings)
    nothing = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "shape": None, "vectors": None}
    return {"loaded": {embedding.name: nothing for embedding in found}, "skipped": {}}


def upscaler_items() -> list[dict[str, Any]]:
    """Of `GET /sdapi/v1/upscalers`: what `extra-single-image` may name."""
    nothing = {"model_name": None, "model_path": None, "model_url": None}
    return [{"name": name, **nothing, "scale": 4.0} for name in UPSCALERS]
