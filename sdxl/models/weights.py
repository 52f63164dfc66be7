"""Loads a stage's pipeline in each form in which SDXL checkpoints come: safetensors only, nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from sdxl.catalog.entries import Model
from sdxl.config.references import Sources, UnusableFile, located
from sdxl.config.settings import Settings, StageName
from sdxl.files.check import check_own_vae, check_stage, named
from sdxl.files.folder import read_json
from sdxl.files.header import read_header
from sdxl.files.kinds import PARTS, VAE, some
from sdxl.files.memory import check_memory
from sdxl.files.own import own_files
from sdxl.models.facts import BentoModel, Facts
from sdxl.models.files import configuration, files_of, weights_of
from sdxl.models.finite import check_finite
from sdxl.models.hub import fetch_files, fetch_pipeline
from sdxl.models.labels import label
from sdxl.models.single_file import load_parts

PIPELINES: dict[StageName, Any] = {"base": StableDiffusionXLPipeline, "refiner": StableDiffusionXLImg2ImgPipeline}
CLASSES: dict[str, Any] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}

NOT_NEEDED = {"image_encoder": None, "feature_extractor": None}  # of pictures as prompts, which a pipeline may have


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A pipeline, and the files that it was loaded from."""

    pipeline: Any  # StableDiffusionXLPipeline or StableDiffusionXLImg2ImgPipeline
    files: dict[str, Path]  # by names that are the same on every machine


def load_weights(
    stage: StageName, model: Model, facts: Facts, settings: Settings, dtype: torch.dtype, bento_model: BentoModel
) -> Weights:
    """Raises ConfigurationError, which names the setting or the model, for what is not there, or is no such checkpoint.

    Either stage can be made of a base model; the refiner's, of a refiner.
    """
    brings_vae, is_half = model.vae is not None, dtype != torch.float32
    vae, files = _own_vae(model, facts.folder, settings, dtype, bento_model) if brings_vae else ({}, {})
    parts = [part for part in PARTS[model.kind] if part not in vae]
    with named(*label("checkpoint", model, settings)):
        path = located(model.reference, Sources(partial(fetch_pipeline, halves=is_half), bento_model))
        check_stage(model.kind, path, brings_vae=brings_vae)
        if path.is_dir():
            files |= files_of(path, is_half=is_half)
            _check_memory(files, dtype)
            models = {part: _from_folder(part, path / part, dtype) for part in parts}
        else:
            files |= {**configuration(facts.folder), **own_files(path), "weights": path}
            _check_memory(files, dtype)
            models = load_parts(path, facts.folder, {part: PARTS[model.kind][part] for part in parts}, dtype)
        check_finite(models)
        given = {**models, **vae, **NOT_NEEDED, "scheduler": facts.sampler}
        pipeline = PIPELINES[stage].from_pretrained(facts.folder, **given, add_watermarker=False, local_files_only=True)
    return Weights(pipeline=pipeline, files=files)


def _from_folder(part: str, folder: Path, dtype: torch.dtype) -> Any:
    """A model by diffusers or transformers, which would only warn of what does not belong together.

    Raises UnusableFile then.
    """
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
    if part.startswith("text_encoder"):
        options["ignore_mismatched_sizes"] = True  # which names them; transformers' error does not
    variant, _ = weights_of(folder, is_half=dtype != torch.float32)
    model, found = CLASSES[part].from_pretrained(folder, variant=variant, dtype=dtype, **options)
    if missing := found["missing_keys"]:
        raise UnusableFile(f"{folder.name} lacks {some(missing)}; it does not fit its config.json, or is not whole")
    if strangers := found["unexpected_keys"]:
        raise UnusableFile(f"{folder.name} has {some(strangers)}, for which its config.json has no place")
    for name, has, wants in found["mismatched_keys"]:
        raise UnusableFile(
            f"{folder.name} has {name} in the shape {list(has)}, and its config.json wants {list(wants)}"
        )
    return model


def _own_vae(
    model: Model, folder: Path, settings: Settings, dtype: torch.dtype, bento_model: BentoModel
) -> tuple[dict[str, Any], dict[str, Path]]:
    """The VAE under its name, and its files. One file has its configuration from a pipeline's `folder`."""
    assert model.vae is not None
    with named(*label("vae", model, settings)):
        path = located(model.vae, Sources(partial(fetch_files, patterns=("config.json", "diffusion_*")), bento_model))
        check_own_vae(path)
        if path.is_dir():
            files = {f"own_vae/{file.name}": file for kind in ("*.json", "*.safetensors") for file in path.glob(kind)}
            vae = _from_folder("vae", path, dtype)
        else:
            files = {"own_vae": path}
            vae = load_parts(path, folder, {"vae": VAE if read_header(path).has(VAE) else ""}, dtype)["vae"]
        scale, own = vae.config.scaling_factor, read_json(folder, "vae/config.json").get("scaling_factor")
        if scale != own:
            raise UnusableFile(
                f"its scaling_factor is {scale} and the checkpoint's VAE has {own}: it is another model's"
            )
        check_finite({"vae": vae})
    return {"vae": vae}, files


def _check_memory(files: Mapping[str, Path], dtype: torch.dtype) -> None:
    headers = (read_header(path) for path in files.values() if path.suffix == ".safetensors")
    check_memory(headers, dtype.itemsize)
