"""Loads a stage's pipeline in each form in which SDXL checkpoints come: safetensors only, nothing is unpickled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline

from sdxl.config.references import Sources, located
from sdxl.config.settings import Settings, StageName
from sdxl.models.hub import HALVES, OWN_FILES, fetch_files, fetch_pipeline, parts_of

PIPELINES: dict[StageName, Any] = {"base": StableDiffusionXLPipeline, "refiner": StableDiffusionXLImg2ImgPipeline}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A pipeline, and the files that it was loaded from."""

    pipeline: Any  # StableDiffusionXLPipeline or StableDiffusionXLImg2ImgPipeline
    files: dict[str, Path]  # by names that are the same on every machine


def load_weights(
    stage: StageName, settings: Settings, dtype: torch.dtype, bento_model: Callable[[str], Path]
) -> Weights:
    """Raises OSError, ValueError or huggingface_hub's errors for what is not there, or is no SDXL checkpoint."""
    is_half = dtype != torch.float32
    path = located(getattr(settings, stage), Sources(partial(fetch_pipeline, halves=is_half), bento_model))
    options = {"dtype": dtype, "add_watermarker": False}
    files: dict[str, Path] = {}
    if settings.vae is not None:
        options["vae"], files = _vae(stage, settings, dtype, bento_model)
    if path.is_file():
        folder = _config_folder(stage, settings, bento_model)
        options["vae"] = options.get("vae") or AutoencoderKL.from_single_file(
            path, config=str(folder), subfolder="vae", dtype=dtype
        )
        pipeline = PIPELINES[stage].from_single_file(path, config=str(folder), local_files_only=True, **options)
        return Weights(pipeline=pipeline, files={**_configuration(folder), **_beside(path), "weights": path, **files})
    variant = variant_of(path, is_half)
    pipeline = PIPELINES[stage].from_pretrained(
        path, variant=variant, use_safetensors=True, local_files_only=True, **options
    )
    return Weights(pipeline=pipeline, files={**files_of(path, variant), **files})


def components(folder: Path) -> list[str]:
    """The names of a pipeline's parts that have files, which are also their folders'."""
    parts = parts_of(folder)
    return [name for name in parts if (folder / name).is_dir()] or parts


def variant_of(folder: Path, is_half: bool) -> str | None:
    """Which files of a pipeline to load: those in half precision if that is asked for, or if there are no others."""
    halves = set(folder.glob(f"unet/{HALVES}"))
    has_others = bool(set(folder.glob("unet/*.safetensors")) - halves)
    return "fp16" if halves and (is_half or not has_others) else None


def files_of(folder: Path, variant: str | None = None) -> dict[str, Path]:
    """The files of a pipeline's folder that are loaded, or that say how."""
    return {**_configuration(folder), **_tensors(folder, variant)}


def _vae(
    stage: StageName, settings: Settings, dtype: torch.dtype, bento_model: Callable[[str], Path]
) -> tuple[Any, dict[str, Path]]:
    assert settings.vae is not None
    path = located(settings.vae, Sources(partial(fetch_files, patterns=("config.json", "diffusion_*")), bento_model))
    if path.is_dir():
        files = sorted(path.glob("*.json")) + sorted(path.glob("*.safetensors"))
        vae = AutoencoderKL.from_pretrained(path, dtype=dtype, use_safetensors=True, local_files_only=True)
        return vae, {f"own_vae/{file.name}": file for file in files}
    folder = _config_folder(stage, settings, bento_model)
    vae = AutoencoderKL.from_single_file(path, config=str(folder), subfolder="vae", dtype=dtype)
    return vae, {"own_vae": path}


def _config_folder(stage: StageName, settings: Settings, bento_model: Callable[[str], Path]) -> Path:
    """A pipeline's folder whose weights may be missing."""
    small_files = partial(fetch_files, patterns=("*.json", "*/*.json", "*/*.txt"))
    return located(getattr(settings, f"{stage}_config"), Sources(small_files, bento_model))


def _configuration(folder: Path) -> dict[str, Path]:
    parts = components(folder)
    found = [folder / "model_index.json", *(folder / name for name in OWN_FILES)]
    found += [path for name in parts for path in sorted((folder / name).glob("*.json"))]
    return _named(folder, (path for path in found if path.is_file() and ".safetensors." not in path.name))


def _tensors(folder: Path, variant: str | None) -> dict[str, Path]:
    """The weights that diffusers loads: of each part the variant, if it has one."""
    found: list[Path] = []
    for name in components(folder):
        variants = sorted((folder / name).glob(HALVES))
        plain = [path for path in sorted((folder / name).glob("*.safetensors")) if path not in variants]
        found += variants if variant and variants else plain
    return _named(folder, found)


def _beside(file: Path) -> dict[str, Path]:
    """A checkpoint that is one file, `name.safetensors`, has its own files as `name.relay.json`."""
    beside = {name: file.with_suffix(f".{name}") for name in OWN_FILES}
    return {name: path for name, path in beside.items() if path.is_file()}


def _named(folder: Path, paths: Iterable[Path]) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in paths}
