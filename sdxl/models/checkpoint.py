"""Loads a model for a stage with diffusers' own pipelines."""

from __future__ import annotations

import copy
import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline

from sdxl.catalog.entries import Model
from sdxl.config.backends import BackendName
from sdxl.config.settings import Settings, StageName
from sdxl.files.check import named
from sdxl.files.own import LATENT_COLOURS
from sdxl.models.backends.conversion import give_to_backend
from sdxl.models.device import device_of, dtype_of
from sdxl.models.distilled import add_distilled
from sdxl.models.facts import BentoModel, Facts, facts_of
from sdxl.models.labels import label
from sdxl.models.lora import LoadedLoras
from sdxl.models.placement import leave_files, place
from sdxl.models.preview import LatentToRGB
from sdxl.models.prompt_cache import PromptCache
from sdxl.models.shared import SharedParts
from sdxl.models.weights import load_weights

logger = logging.getLogger("bentoml.sdxl_relay")


@dataclass(kw_only=True, eq=False)
class Checkpoint:
    """A model that is there. The pipeline is shared by all jobs, and only the engine's thread calls its models."""

    pipeline: Any  # StableDiffusionXLPipeline or StableDiffusionXLImg2ImgPipeline
    facts: Facts
    to_rgb: LatentToRGB
    digest: str
    """SHA-256 of its files: see `digest`."""
    device: str
    dtype: torch.dtype
    backend: BackendName
    loras: LoadedLoras

    @cached_property
    def prompts(self) -> PromptCache:
        """The text encoders, and what they have read."""
        return PromptCache(self.pipeline, self.device, self.loras)

    @cached_property
    def img2img(self) -> Any:
        """The pipeline that begins with a picture, over the same models: StableDiffusionXLImg2ImgPipeline."""
        if isinstance(self.pipeline, StableDiffusionXLImg2ImgPipeline):
            return self.pipeline
        return StableDiffusionXLImg2ImgPipeline(
            **self.pipeline.components,
            requires_aesthetics_score=False,  # which only a refiner's UNet takes
            force_zeros_for_empty_prompt=self.pipeline.config.force_zeros_for_empty_prompt,
            add_watermarker=False,
        )


def with_sampler(pipeline: Any, sampler: Any) -> Any:
    """The pipeline as one job sees it: the same models, and the job's own sampler."""
    own = copy.copy(pipeline)
    own.scheduler = sampler
    return own


def load(
    stage: StageName,
    model: Model,
    settings: Settings,
    bento_model: BentoModel,
    *,
    facts: Facts | None = None,
    shared: SharedParts | None = None,
    known_digest: str | None = None,
) -> Checkpoint:
    """Loads a model for a stage. Raises ConfigurationError for whatever cannot be loaded.

    `known_digest`: the checkpoint's, if its files have been read before.
    """
    begun = time.perf_counter()
    device = device_of(settings)
    dtype = dtype_of(settings, device)
    with named(*label("checkpoint", model, settings)):
        facts = facts or facts_of(model, settings, dtype, bento_model)
        weights = load_weights(stage, model, facts, settings, dtype, bento_model)
        pipeline = weights.pipeline
        files = weights.files | add_distilled(pipeline, model, settings, bento_model)
        if device == "cpu" or settings.offload != "none":
            leave_files(pipeline)
        if shared is not None:
            shared.share(pipeline)
        place(pipeline, settings, device)
        own_digest = known_digest or digest(files)
        backend, why = give_to_backend(pipeline, settings, device, dtype, own_digest)
        checkpoint = Checkpoint(
            pipeline=pipeline,
            facts=facts,
            to_rgb=LatentToRGB.of(files.get(LATENT_COLOURS), device),
            digest=own_digest,
            device=device,
            dtype=dtype,
            backend=backend,
            loras=LoadedLoras(pipeline, row_by_row=settings.fixed_rows is not None),
        )
    _tell(checkpoint, stage, model, why, time.perf_counter() - begun)
    return checkpoint


def _tell(checkpoint: Checkpoint, stage: StageName, model: Model, why_backend: str, seconds: float) -> None:
    """What an operator wants to see of it in the log."""
    logger.info(
        "the %s is %s (digest %s), with %s VAE",
        stage,
        model.reference,
        checkpoint.digest[:10],
        model.vae or "its own",
    )
    on = "the CPU" if checkpoint.device == "cpu" else checkpoint.device
    dtype = str(checkpoint.dtype).removeprefix("torch.")
    by = f"{checkpoint.backend} ({why_backend})"
    logger.info(
        "it runs on %s in %s by %s, threads: %d; loaded in %.1f s", on, dtype, by, torch.get_num_threads(), seconds
    )


def digest(files: Mapping[str, Path]) -> str:
    """SHA-256 of a checkpoint in one file, by which others know it, too; else over the names and contents of all."""
    of_weights = [path for path in files.values() if path.suffix == ".safetensors"]
    if "weights" in files and len(of_weights) == 1:
        return _sha256(files["weights"]).hexdigest()
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(name.encode())
        total.update(_sha256(path).digest())
    return total.hexdigest()


def _sha256(path: Path) -> Any:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
