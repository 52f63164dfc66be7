"""Loads a stage's pipeline in each form in which SDXL checkpoints come: safetensors only, nothing is unpickled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from sdxl.config.references import Sources, UnusableFile, located
from sdxl.config.settings import Settings, StageName
from sdxl.files.check import check_own_vae, check_stage, named
from sdxl.files.folder import check_folder, read_json
from sdxl.files.header import read_header
from sdxl.files.kinds import PARTS, VAE, some
from sdxl.files.memory import check_memory
from sdxl.files.own import OWN_FILES, own_files
from sdxl.files.sampling import sampling_of
from sdxl.models.finite import check_finite
from sdxl.models.hub import HALVES, fetch_files, fetch_pipeline, parts_of
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
    stage: StageName, settings: Settings, dtype: torch.dtype, bento_model: Callable[[str], Path]
) -> Weights:
    """Raises ConfigurationError, which names the setting, for what is not there, or is no checkpoint of this stage."""
    setting, reference = f"SDXL_{stage.upper()}", getattr(settings, stage)
    brings_vae, is_half = settings.vae is not None, dtype != torch.float32
    with named(setting, reference):
        path = located(reference, Sources(partial(fetch_pipeline, halves=is_half), bento_model))
        check_stage(stage, path, brings_vae=brings_vae)
    folder = path if path.is_dir() else _config_folder(stage, settings, bento_model)
    vae, files = _own_vae(settings.vae, folder, dtype, bento_model) if settings.vae is not None else ({}, {})
    parts = [part for part in PARTS[stage] if part not in vae]
    with named(setting, reference):
        if path.is_dir():
            files |= files_of(path, is_half=is_half)
            _check_memory(files, dtype)
            models = {part: _from_folder(part, path / part, dtype) for part in parts}
        else:
            files |= {**_configuration(folder), **own_files(path), "weights": path}
            _check_memory(files, dtype)
            models = load_parts(path, folder, {part: PARTS[stage][part] for part in parts}, dtype)
        check_finite(models)
        options = {**models, **vae, **NOT_NEEDED, "add_watermarker": False, "local_files_only": True}
        pipeline = PIPELINES[stage].from_pretrained(folder, **options)
        if path.is_file():
            own = pipeline.scheduler
            pipeline.scheduler = type(own).from_config(own.config, **sampling_of(read_header(path)))
    return Weights(pipeline=pipeline, files=files)


def components(folder: Path) -> list[str]:
    """The names of a pipeline's parts that have files, which are also their folders'."""
    parts = parts_of(folder)
    return [name for name in parts if (folder / name).is_dir()] or parts


def files_of(folder: Path, *, is_half: bool = False) -> dict[str, Path]:
    """The files of a pipeline's folder that are loaded, or that say how."""
    weights = [path for name in components(folder) for path in weights_of(folder / name, is_half=is_half)[1]]
    return {**_configuration(folder), **_named(folder, weights)}


def weights_of(folder: Path, *, is_half: bool) -> tuple[str | None, list[Path]]:
    """Which of a model's files to load, and diffusers' name of that variant.

    They are those in half precision if that is asked for, or if there are no others.
    """
    halves = sorted(folder.glob(HALVES))
    plain = [path for path in sorted(folder.glob("*.safetensors")) if path not in halves]
    return ("fp16", halves) if halves and (is_half or not plain) else (None, plain)


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
    reference: str, folder: Path, dtype: torch.dtype, bento_model: Callable[[str], Path]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """The model under its name, and its files. One file has its configuration from a pipeline's `folder`."""
    with named("SDXL_VAE", reference):
        path = located(reference, Sources(partial(fetch_files, patterns=("config.json", "diffusion_*")), bento_model))
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


def _config_folder(stage: StageName, settings: Settings, bento_model: Callable[[str], Path]) -> Path:
    """A pipeline's folder whose weights may be missing."""
    small_files = partial(fetch_files, patterns=("*.json", "*/*.json", "*/*.txt"))
    reference = getattr(settings, f"{stage}_config")
    with named(f"SDXL_{stage.upper()}_CONFIG", reference):
        try:
            folder = located(reference, Sources(small_files, bento_model))
        except UnusableFile as error:
            raise UnusableFile(f"{error}; a folder with a pipeline's configuration and tokenizers will do") from error
        check_folder(stage, folder, has_weights=False)
    return folder


def _configuration(folder: Path) -> dict[str, Path]:
    parts = components(folder)
    found = [folder / "model_index.json", *(folder / name for name in OWN_FILES)]
    found += [path for name in parts for path in sorted((folder / name).glob("*.json"))]
    return _named(folder, (path for path in found if path.is_file() and ".safetensors." not in path.name))


def _named(folder: Path, paths: Iterable[Path]) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in paths}
