"""What kind of model a file holds, by the names, shapes and types of its tensors."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from sdxl.config.references import UnusableFile
from sdxl.config.settings import StageName
from sdxl.files.header import Header

UNET, VAE = "model.diffusion_model.", "first_stage_model."
PARTS: Mapping[StageName, Mapping[str, str]] = {
    "base": {
        "unet": UNET,
        "vae": VAE,
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
    "refiner": {"unet": UNET, "vae": VAE, "text_encoder_2": "conditioner.embedders.0.model."},
}
"""The parts of a checkpoint, by their names in diffusers: how their tensors' names begin in the original layout."""

LATENT_CHANNELS = 4
FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}
WEIGHTS = (".weight", "_a", "_b", "_w1", "_w2", "_t1", "_t2", ".diff")  # the last of LyCORIS
LORA = r"(^|[._])lora[._]|\.(hada|lokr)_w[12]|\.(diff|w_norm)$"
EMBEDDING = r"^(clip_[gl]|emb_params|string_to_param.*)$"
# LoRAs of other models, by the names of their layers, or by the width of the text that their cross-attention takes.
OTHERS_LAYERS = (
    (r"(^|[._])(double_blocks|single_blocks|single_transformer_blocks)[._]", "Flux, or of a model of its kind"),
    (r"(^|[._])joint_blocks[._]|[._]add_[qkv]_proj[._]", "Stable Diffusion 3"),
)
OTHERS_WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2"}
FROM_TEXT = re.compile(
    r"attn2[._](processor[._])?to_[kv]([._]lora(_linear_layer)?[._](down|A)(\.\w+)?\.weight|\.hada_w1_b)$"
)
# What names are a sign of; the first that matches any name of a file counts.
KINDS = (
    (r"(^|\.)joint_blocks\.", "Stable Diffusion 3"),
    (r"(^|\.)(double_blocks|single_blocks|single_transformer_blocks)\.", "Flux, or a model of its kind"),
    (r"^cond_stage_model\.transformer\.", "Stable Diffusion 1"),
    (r"^cond_stage_model\.", "Stable Diffusion 2"),
    (rf"^{UNET}label_emb\.", "a checkpoint of SDXL, which SDXL_BASE, SDXL_REFINER or a folder checkpoints/ takes"),
    (r"^(control_model\.|controlnet_|lllite_)", "a ControlNet"),
    (r"^(image_proj|ip_adapter)\.", "an IP-Adapter"),
    (LORA, "a LoRA, which SDXL_LORAS or a folder loras/ takes"),
    (EMBEDDING, "a textual inversion, which a folder embeddings/ takes"),
    (rf"^({UNET})?(input_blocks|down_blocks)\.", "a UNet alone, or another model's"),
    (rf"^({VAE})?(encoder|decoder)\.conv_in\.", "a VAE, which SDXL_VAE or a folder vae/ takes"),
    (r"text_model\.|transformer\.resblocks\.|^encoder\.block\.", "a text encoder alone"),
)


def kind_of(header: Header) -> str:
    """In words, with their article."""
    for pattern, kind in KINDS:
        if any(re.search(pattern, name) for name in header.tensors):
            return kind
    called = header.metadata.get("modelspec.architecture")
    return f"a model called {called:.60}" if called else f"something else, with {some(header.tensors)}"


def some(names: Collection[str]) -> str:
    """Tensors as a message names them: how many, and the first of them."""
    listed = sorted(names)
    many = f"{len(listed)} tensors such as " if len(listed) > 1 else ""
    return f"{many}{listed[0]:.100}" if listed else "no tensors"


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without ones at its end: some layouts have a convolution of one pixel where others have a matrix."""
    while shape and shape[-1] == 1:
        shape = shape[:-1]
    return shape


def stage_of(header: Header) -> StageName:
    """Whose checkpoint in one file it is, by its text encoders; the base's, if it is neither's."""
    return "refiner" if header.has(PARTS["refiner"]["text_encoder_2"]) else "base"


def check_checkpoint(stage: StageName, header: Header, *, brings_vae: bool) -> None:
    """Raises UnusableFile for anything but a stage's whole checkpoint in one file.

    `brings_vae`: there is another VAE for it.
    """
    if not header.has(f"{UNET}label_emb."):  # SDXL's UNets know the picture's size by it; no other model has it
        raise UnusableFile(f"it is {kind_of(header)}; a whole checkpoint of SDXL is needed")
    missing = {own: [part for part, prefix in parts.items() if not header.has(prefix)] for own, parts in PARTS.items()}
    other: StageName = "refiner" if stage == "base" else "base"
    if missing[stage] and not missing[other]:
        raise wrong_stage(other)
    needed = [part for part in missing[stage] if not (part == "vae" and brings_vae)]
    if needed:
        raise UnusableFile(f"it has no {' and no '.join(needed)}; a whole checkpoint is needed")
    check_channels(_shape(header, f"{UNET}input_blocks.0.0.weight", 1), _shape(header, f"{UNET}out.2.weight", 0))
    if not brings_vae:
        check_vae(header)
    check_types(header, tuple(PARTS[stage].values()))


def wrong_stage(other: StageName) -> UnusableFile:
    """It is the other stage's model."""
    return UnusableFile(f"it is SDXL's {other}, which SDXL_{other.upper()} takes")


def check_channels(taken: int | None, given: int | None) -> None:
    """Raises UnusableFile for a UNet that takes or gives more than latents; None is what cannot be told."""
    kind = {9: ", as for inpainting", 8: ", as for changes by instruction"}.get(taken or 0, "")
    if taken not in (None, LATENT_CHANNELS):
        raise UnusableFile(f"its UNet takes {taken} channels{kind}, and only those that take 4 can be served")
    if given not in (None, LATENT_CHANNELS):
        raise UnusableFile(f"its UNet gives {given} channels, and only those that give 4 can be served")


def check_vae(header: Header) -> None:
    """Raises UnusableFile unless it has a VAE with four latent channels, in either layout."""
    prefix = VAE if header.has(VAE) else ""
    channels = _shape(header, f"{prefix}decoder.conv_in.weight", 1)
    if channels is None or not header.has(f"{prefix}encoder.conv_in."):
        raise UnusableFile(f"it is {kind_of(header)}; a VAE with its encoder and its decoder is needed")
    check_latents(channels)
    check_types(header, (prefix,))


def check_latents(channels: int | None) -> None:
    """Raises UnusableFile for a VAE of another model."""
    if channels != LATENT_CHANNELS:
        raise UnusableFile(f"its VAE has {channels} latent channels and SDXL's have {LATENT_CHANNELS}")


def check_lora(header: Header) -> None:
    """Raises UnusableFile for what is no LoRA, or surely another model's. Whether it fits is seen when it is loaded."""
    if not any(re.search(LORA, name) for name in header.tensors):
        raise UnusableFile(f"it is {kind_of(header)}; a LoRA is needed")
    if other := _other_model(header):
        raise UnusableFile(f"it is a LoRA of {other}; one of SDXL is needed")
    if bundled := list(header.under("bundle_emb.")):
        raise UnusableFile(
            f"it brings a textual inversion with it ({some(bundled)}); write the LoRA without embeddings"
        )
    check_types(header, ("",))


def check_embedding(header: Header) -> None:
    """Raises UnusableFile for anything but a textual inversion of SDXL, which has vectors for text encoder 2."""
    if "clip_g" not in header.tensors:
        is_other = any(re.search(EMBEDDING, name) for name in header.tensors)
        kind = "a textual inversion of another model" if is_other else kind_of(header)
        raise UnusableFile(f"it is {kind}; a textual inversion of SDXL, with clip_g, is needed")


def _other_model(header: Header) -> str | None:
    """Which model a LoRA is of, if that is surely not SDXL."""
    for name, tensor in header.tensors.items():
        for pattern, model in OTHERS_LAYERS:
            if re.search(pattern, name):
                return model
        if FROM_TEXT.search(name) and tensor.shape[1:] and tensor.shape[1] in OTHERS_WIDTHS:
            return OTHERS_WIDTHS[tensor.shape[1]]
    return None


def check_types(header: Header, prefixes: tuple[str, ...]) -> None:
    """Raises UnusableFile if weights are no plain numbers. One number, such as alpha, may be of any type."""
    for name, tensor in header.tensors.items():
        if name.startswith(prefixes) and tensor.shape and name.endswith(WEIGHTS) and tensor.dtype not in FLOATS:
            raise UnusableFile(f"its weights are quantized: {name} is {tensor.dtype}; one with plain weights is needed")


def _shape(header: Header, name: str, axis: int) -> int | None:
    tensor = header.tensors.get(name)
    return None if tensor is None or len(tensor.shape) <= axis else tensor.shape[axis]
