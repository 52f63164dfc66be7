"""What is known of a model before its weights are loaded: its configurations say it, and its files' headers."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch

from sdxl.catalog.entries import Model
from sdxl.config.presets import PRESETS, defaults_of
from sdxl.config.references import Sources, UnusableFile, located
from sdxl.config.settings import Settings
from sdxl.errors import RelayError
from sdxl.files.check import check_stage, named
from sdxl.files.folder import check_folder, read_json
from sdxl.files.header import read_header
from sdxl.files.kinds import PARTS
from sdxl.files.own import DEFAULTS, own_files, read_defaults
from sdxl.files.sampling import sampling_of
from sdxl.models.files import files_of
from sdxl.models.hub import fetch_files
from sdxl.models.labels import label
from sdxl.request.bounds import Bounds
from sdxl.request.samplers import SAMPLERS, SamplerName
from sdxl.request.schedules import ALL
from sdxl.request.settled import Defaults

VAE_FACTOR = 8  # pixels per latent, in both directions
# `beta` is linear in the noise levels, of which diffusers' highest is 4096 then: hardly a step is left for the picture.
OF_ZERO_SNR = tuple(name for name in ALL if name != "beta")
SMALL_FILES = ("*.json", "*/*.json", "*/*.txt")
BentoModel = Callable[[str], Path]
"""From the tag of a model in BentoML's store to its folder. Raises UnusableFile."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """All that a job must know of its model before that is there."""

    folder: Path
    """With the pipeline's configurations and tokenizers."""
    sampler: Any
    """As diffusers' pipelines have it; every job's own is made from its configuration."""
    defaults: Defaults
    latent_scale: float
    """The VAE's scaling factor, by which latents are multiplied."""
    max_clip_skip: int
    """How many of the text encoders' last layers can be skipped, beyond the one that SDXL always skips."""
    size_bytes: int
    """Of the weights, once they are loaded; 0 for those that are not on this machine yet."""

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The configuration that every sampler is made from."""
        return dict(self.sampler.config)


def facts_of(model: Model, settings: Settings, dtype: torch.dtype, bento_model: BentoModel) -> Facts:
    """Raises UnusableFile or ConfigurationError for what is not there, or is no checkpoint of its kind."""
    path = located(model.reference, Sources(partial(fetch_files, patterns=SMALL_FILES), bento_model))
    folder = path
    if not path.is_dir():
        with named(*label("config", model, settings)):
            folder = _configuration(model, bento_model)
    if path.is_file():
        check_stage(model.kind, path, brings_vae=model.vae is not None)
    sampler = _sampler(model, path, folder)
    encoders = [part for part in PARTS[model.kind] if part.startswith("text_encoder")]
    weights = _weights(path, is_half=dtype != torch.float32)
    depths = [read_json(folder, f"{part}/config.json")["num_hidden_layers"] for part in encoders]
    return Facts(
        folder=folder,
        sampler=sampler,
        defaults=_defaults(model, path, folder, read_json(folder, "unet/config.json")["sample_size"], sampler.config),
        latent_scale=read_json(folder, "vae/config.json").get("scaling_factor", 0.18215),  # AutoencoderKL's own
        max_clip_skip=min(depths) - 1,
        size_bytes=dtype.itemsize * sum(read_header(file).numbers for file in weights),
    )


def _configuration(model: Model, bento_model: BentoModel) -> Path:
    """The folder for a checkpoint in one file; its weights may be missing."""
    try:
        folder = located(model.config, Sources(partial(fetch_files, patterns=SMALL_FILES), bento_model))
    except UnusableFile as error:
        raise UnusableFile(f"{error}; a folder with a pipeline's configuration and tokenizers will do") from error
    check_folder(model.kind, folder, has_weights=False)
    return folder


def _sampler(model: Model, path: Path, folder: Path) -> Any:
    """As the pipeline's, with what the file says of itself, and what the preset asks for."""
    kind = read_json(folder, "model_index.json")["scheduler"][1]
    sampler = getattr(diffusers, kind).from_pretrained(folder, subfolder="scheduler", local_files_only=True)
    changes = dict(sampling_of(read_header(path))) if path.is_file() else {}
    if model.preset is not None:
        changes |= PRESETS[model.preset].sampler
    return type(sampler).from_config(sampler.config, **changes)


def _weights(path: Path, *, is_half: bool) -> list[Path]:
    if path.is_file():
        return [path]
    return [file for file in files_of(path, is_half=is_half).values() if file.suffix == ".safetensors"]


def _defaults(
    model: Model, path: Path, folder: Path, native_side: int, scheduler_config: Mapping[str, Any]
) -> Defaults:
    """The catalog's over the preset's over relay.json's over any checkpoint's."""
    native_px = native_side * VAE_FACTOR
    preset = {}
    if model.preset is not None and model.kind == "base":
        preset = defaults_of(model.preset, model.distilled)
    own = read_defaults({**own_files(folder), **own_files(path)}.get(DEFAULTS))
    told = {"about": {**_about(own), **_about(model.defaults)}}
    native = {"width": native_px, "height": native_px}
    settled = Defaults.model_validate({**native, **own, **preset, **model.defaults, **told})
    settled = settled.model_copy(update={"bounds": bounds_for(scheduler_config, settled.bounds)})
    of_edits = settled.model_copy(update={"num_inference_steps": settled.edit_steps or settled.num_inference_steps})
    try:
        settled.bounds.check(settled)
        settled.bounds.check(of_edits)
    except RelayError as error:
        raise UnusableFile(f"a default of the checkpoint is out of its own bounds: {error}") from None
    return settled


def _about(values: Mapping[str, Any]) -> dict[str, Any]:
    """What people are told of a model, of which the catalog may say a part and relay.json another."""
    about: dict[str, Any] = values.get("about", {})
    return about


def bounds_for(config: Mapping[str, Any], bounds: Bounds) -> Bounds:
    """The bounds without samplers and schedules that cannot have the configuration's noise levels.

    To noise levels that end in pure noise (zero terminal SNR), some of diffusers' samplers have no way, and would leave
    them out in silence.
    """
    if not config.get("rescale_betas_zero_snr"):
        return bounds
    able = tuple(name for name in bounds.scheduler or SAMPLERS if _takes_zero_snr(name))
    spread = tuple(name for name in bounds.schedule or OF_ZERO_SNR if name in OF_ZERO_SNR)
    why = "the checkpoint's zero terminal SNR"
    reason = why if bounds == Bounds() else f"{bounds.reason} and {why}"
    return bounds.model_copy(update={"scheduler": able, "schedule": spread, "reason": reason})


def _takes_zero_snr(name: SamplerName) -> bool:
    sampler = getattr(diffusers, SAMPLERS[name].diffusers_class)
    return "rescale_betas_zero_snr" in inspect.signature(sampler).parameters
