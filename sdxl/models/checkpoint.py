"""Loads a stage's checkpoint with diffusers' own pipelines."""

from __future__ import annotations

import copy
import hashlib
import inspect
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline

from sdxl.config.backends import BackendName
from sdxl.config.presets import defaults_of
from sdxl.config.references import UnusableFile
from sdxl.config.settings import ConfigurationError, Settings, StageName
from sdxl.errors import RelayError
from sdxl.files.check import named
from sdxl.files.own import DEFAULTS, LATENT_COLOURS, read_defaults
from sdxl.models.backends.conversion import give_to_backend
from sdxl.models.distilled import add_distilled, set_sampler
from sdxl.models.lora import LoadedLoras, load_loras
from sdxl.models.placement import place
from sdxl.models.preview import LatentToRGB
from sdxl.models.prompt_cache import PromptCache
from sdxl.models.weights import load_weights
from sdxl.request.bounds import Bounds
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.settled import Defaults

logger = logging.getLogger("bentoml.sdxl_relay")

VAE_FACTOR = 8  # pixels per latent, in both directions


@dataclass(kw_only=True, eq=False)
class Checkpoint:
    """A loaded stage. The pipeline is shared by all jobs, and only the engine's thread calls its models."""

    pipeline: Any  # StableDiffusionXLPipeline or StableDiffusionXLImg2ImgPipeline
    defaults: Defaults
    to_rgb: LatentToRGB
    digest: str
    device: str
    dtype: torch.dtype
    backend: BackendName
    loras: LoadedLoras

    @cached_property
    def prompts(self) -> PromptCache:
        """The text encoders, and what they have read."""
        return PromptCache(self.pipeline, self.device, lambda: self.loras.active)

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The configuration that every sampler of this checkpoint is made from."""
        return dict(self.pipeline.scheduler.config)

    @cached_property
    def max_clip_skip(self) -> int:
        """How many of the text encoders' last layers can be skipped, beyond the one that SDXL always skips."""
        encoders = (self.pipeline.text_encoder, self.pipeline.text_encoder_2)
        return min(encoder.config.num_hidden_layers for encoder in encoders if encoder is not None) - 1

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


def load(stage: StageName, settings: Settings, bento_model: Callable[[str], Path]) -> Checkpoint:
    """Loads the stage's checkpoint, with its LoRAs. Raises ConfigurationError for whatever cannot be loaded."""
    begun = time.perf_counter()
    device = _device(settings)
    dtype = _dtype(settings, device)
    with named(f"SDXL_{stage.upper()}", getattr(settings, stage)):
        weights = load_weights(stage, settings, dtype, bento_model)
        files = dict(weights.files)
        preset: dict[str, Any] = {}
        pipeline = weights.pipeline
        if settings.preset is not None:
            set_sampler(pipeline, settings.preset)
            if stage == "base":
                preset = defaults_of(settings.preset, settings.distilled)
                files |= add_distilled(pipeline, settings, bento_model)
        place(pipeline, settings, device)
        own_digest = digest(files)
        backend, why = give_to_backend(pipeline, settings, device, dtype, own_digest)
        checkpoint = Checkpoint(
            pipeline=pipeline,
            defaults=_defaults(files.get(DEFAULTS), pipeline, preset),
            to_rgb=LatentToRGB.of(files.get(LATENT_COLOURS), device),
            digest=own_digest,
            device=device,
            dtype=dtype,
            backend=backend,
            loras=load_loras(pipeline, stage, settings),
        )
    _tell(checkpoint, stage, settings, why, time.perf_counter() - begun)
    return checkpoint


def _tell(checkpoint: Checkpoint, stage: StageName, settings: Settings, why_backend: str, seconds: float) -> None:
    """What an operator wants to see of it in the log."""
    logger.info(
        "the %s is %s (digest %s), with %s VAE and %s",
        stage,
        getattr(settings, stage),
        checkpoint.digest[:10],
        settings.vae or "its own",
        f"the LoRAs {', '.join(checkpoint.loras.digests)}" if checkpoint.loras.digests else "no LoRAs",
    )
    on = checkpoint.device if settings.device != "auto" or checkpoint.device != "cpu" else "the CPU (there is no CUDA)"
    dtype = str(checkpoint.dtype).removeprefix("torch.")
    by = f"{checkpoint.backend} ({why_backend})"
    logger.info(
        "it runs on %s in %s by %s, threads: %d; loaded in %.1f s", on, dtype, by, torch.get_num_threads(), seconds
    )


def digest(files: Mapping[str, Path]) -> str:
    """SHA-256 over the names and contents of a checkpoint's files."""
    total = hashlib.sha256()
    for name, path in sorted(files.items()):
        total.update(name.encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _defaults(path: Path | None, pipeline: Any, preset: Mapping[str, Any]) -> Defaults:
    """The preset's over relay.json's over any checkpoint's."""
    native_px = pipeline.unet.config.sample_size * VAE_FACTOR
    settled = Defaults.model_validate({"width": native_px, "height": native_px, **read_defaults(path), **preset})
    settled = settled.model_copy(update={"bounds": bounds_for(pipeline.scheduler.config, settled.bounds)})
    of_edits = settled.model_copy(update={"num_inference_steps": settled.edit_steps or settled.num_inference_steps})
    try:
        settled.bounds.check(settled)
        settled.bounds.check(of_edits)
    except RelayError as error:
        raise UnusableFile(f"a default of the checkpoint is out of its own bounds: {error}") from None
    return settled


def bounds_for(config: Mapping[str, Any], bounds: Bounds) -> Bounds:
    """The bounds without samplers that cannot have the configuration's noise levels.

    To noise levels that end in pure noise (zero terminal SNR), some of diffusers' samplers have no way, and would leave
    them out in silence.
    """
    if not config.get("rescale_betas_zero_snr"):
        return bounds
    able = tuple(name for name in bounds.scheduler or SAMPLERS if _takes_zero_snr(name))
    why = "the checkpoint's zero terminal SNR"
    reason = why if bounds == Bounds() else f"{bounds.reason} and {why}"
    return bounds.model_copy(update={"scheduler": able, "reason": reason})


def _takes_zero_snr(name: SamplerName) -> bool:
    sampler = getattr(diffusers, SAMPLERS[name].diffusers_class)
    return "rescale_betas_zero_snr" in inspect.signature(sampler).parameters


def _device(settings: Settings) -> str:
    """Raises ConfigurationError for a GPU that is not there."""
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if settings.device == "auto":
        return "cuda" if there else "cpu"
    if settings.device.startswith("cuda") and int(settings.device.partition(":")[2] or 0) >= there:
        why = "" if torch.version.cuda else f", and this PyTorch ({torch.__version__}) is built for CPUs alone"
        raise ConfigurationError(
            f"SDXL_DEVICE={settings.device}: PyTorch finds {there or 'no'} GPUs with CUDA here{why}; allowed: cpu, auto"
        )
    return settings.device


def _dtype(settings: Settings, device: str) -> torch.dtype:
    name = settings.dtype
    if name == "auto":
        name = "float32" if device == "cpu" else "float16"
    if name == "float16" and device == "cpu":
        logger.warning("SDXL_DTYPE=float16 is many times slower than float32 on a CPU; auto or bfloat16 may be meant")
    dtype: torch.dtype = getattr(torch, name)
    return dtype
