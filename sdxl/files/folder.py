"""A checkpoint in diffusers' format, looked at before it is loaded: its configurations, and its files' headers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sdxl.config.references import UnusableFile
from sdxl.config.settings import StageName
from sdxl.files.header import read_header
from sdxl.files.kinds import PARTS, check_channels, check_latents, check_types, wrong_stage
from sdxl.files.sampling import check_sampler

TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
SIZES = 6  # numbers that the base's UNet takes beside the text: original size, crop, target size
SIZES_OF_REFINER = 5  # original size, crop, aesthetic score


def check_folder(stage: StageName, folder: Path, *, has_weights: bool = True, brings_vae: bool = False) -> None:
    """Raises UnusableFile for anything but a stage's whole checkpoint.

    Without `has_weights`, only the configuration counts. `brings_vae`: there is another VAE for it.
    """
    if not (folder / "model_index.json").is_file():
        raise UnusableFile("it has no model_index.json; the folder of a whole pipeline is needed")
    index, has = read_index(folder)
    pipeline = str(index.get("_class_name"))
    if not pipeline.startswith("StableDiffusionXL"):
        raise UnusableFile(f"its model_index.json is of {pipeline:.60}; StableDiffusionXLPipeline is needed")
    if stage == "refiner" and "text_encoder" in has:
        raise wrong_stage("base")
    if stage == "base" and "text_encoder" not in has and index.get("requires_aesthetics_score"):
        raise wrong_stage("refiner")
    for part in PARTS[stage]:
        needed = [part, TOKENIZERS[part]] if part in TOKENIZERS else [part]
        for name in needed:
            if name not in has or not (folder / name).is_dir():
                raise UnusableFile(f"it has no {name}; a whole checkpoint is needed")
            for file in (folder / name).glob("*.json"):
                _check_not_quantized(f"{name}/{file.name}", read_json(folder, f"{name}/{file.name}"))
        if part in TOKENIZERS:
            _check_tokenizer(folder, TOKENIZERS[part])
        if has_weights and not (part == "vae" and brings_vae):
            check_weights(folder / part)
    _check_configurations(stage, folder)


def read_index(folder: Path) -> tuple[dict[str, Any], set[str]]:
    """A pipeline's model_index.json, and the parts that it has. Raises UnusableFile."""
    index = read_json(folder, "model_index.json")
    return index, {part for part, value in index.items() if isinstance(value, list) and value[:1] not in ([], [None])}


def stage_of_folder(folder: Path) -> StageName:
    """Whose checkpoint it is: the refiner's has no text encoder 1. Raises UnusableFile."""
    return "base" if "text_encoder" in read_index(folder)[1] else "refiner"


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """Raises UnusableFile, which names the file, for anything but a JSON object."""
    try:
        found = json.loads((folder / name).read_bytes())
    except OSError as error:
        raise UnusableFile(f"{name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UnusableFile(f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UnusableFile(f"{name} holds no JSON object")
    return found


def check_weights(folder: Path) -> None:
    """Raises UnusableFile, which names the file, unless all weights of one model are there and plain."""
    files = sorted(folder.glob("*.safetensors"))
    for index in folder.glob("*.safetensors.index.json"):
        named = set(read_json(folder, index.name).get("weight_map", {}).values())
        if missing := named - {file.name for file in files}:
            raise UnusableFile(f"{folder.name} has no {min(missing)}, which {index.name} names; download it again")
    if not files:
        others = next((path.name for kind in ("*.bin", "*.ckpt", "*.pt") for path in folder.glob(kind)), None)
        pickled = (
            f" but {others}, which may hold programs; convert it to safetensors" if others else "; download it again"
        )
        raise UnusableFile(f"{folder.name} has no .safetensors file{pickled}")
    for file in files:
        try:
            check_types(read_header(file), ("",))
        except UnusableFile as error:
            raise UnusableFile(f"{folder.name}/{file.name}: {error}") from error


def check_vae_folder(folder: Path, path_of_config: str = "config.json") -> None:
    """Raises UnusableFile for anything but diffusers' AutoencoderKL with four latent channels."""
    if not (folder / path_of_config).is_file():
        raise UnusableFile(f"it has no {path_of_config}; the folder of a VAE is needed")
    config = read_json(folder, path_of_config)
    kind = config.get("_class_name")
    if kind != "AutoencoderKL":
        raise UnusableFile(f"{path_of_config} is of {kind!s:.60}; AutoencoderKL is needed")
    check_latents(config.get("latent_channels"))


def _check_not_quantized(name: str, config: dict[str, Any]) -> None:
    if "quantization_config" in config:
        raise UnusableFile(f"{name} says that its weights are quantized; one with plain weights is needed")


def _check_tokenizer(folder: Path, name: str) -> None:
    if not any(all((folder / name / file).is_file() for file in files) for files in TOKENIZER_FILES):
        raise UnusableFile(f"{name} has no tokenizer.json, and not both vocab.json and merges.txt; download it again")


def _check_configurations(stage: StageName, folder: Path) -> None:
    check_sampler(read_json(folder, "scheduler/scheduler_config.json"))
    check_vae_folder(folder, "vae/config.json")
    unet = read_json(folder, "unet/config.json")
    if unet.get("addition_embed_type") != "text_time":
        raise UnusableFile("its UNet does not know the picture's size, as SDXL's do: it is another model's")
    check_channels(unet.get("in_channels"), unet.get("out_channels"))
    encoders = [read_json(folder, f"{part}/config.json") for part in PARTS[stage] if part in TOKENIZERS]
    width = sum(encoder.get("hidden_size", 0) for encoder in encoders)
    sizes = (SIZES if stage == "base" else SIZES_OF_REFINER) * (unet.get("addition_time_embed_dim") or 0)
    for name, given in (
        ("cross_attention_dim", width),
        ("projection_class_embeddings_input_dim", encoders[-1].get("projection_dim", 0) + sizes),
    ):
        if unet.get(name) != given:
            raise UnusableFile(
                f"its UNet's {name} is {unet.get(name)}, and its text encoders give {given} as a {stage}'s:"
                " they do not belong together"
            )
