"""Brings a loaded pipeline onto its device, in the form in which it is fast there, or small."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import cpu_offload
from torch import nn

from sdxl.config.settings import ConfigurationError, Settings


def place(pipeline: Any, settings: Settings, device: str) -> None:
    """Moves the models to the device; with offload, they are only brought there when they are called.

    Raises ConfigurationError if a package is missing.
    """
    if not settings.vae_upcast:
        pipeline.vae.register_to_config(force_upcast=False)
    if settings.vae_tiling:
        pipeline.vae.enable_tiling()
    if device.startswith("cuda"):
        _use_tensor_cores(pipeline.unet.dtype)
        if not settings.may_have_loras:  # which change the separate weights
            fuse_projections(pipeline.unet)
        _lay_out_for_gpu(pipeline)
    if settings.quantize == "int8":
        _quantize(pipeline.unet)
    match settings.offload:
        case "model":
            pipeline.enable_model_cpu_offload(device=device)
        case "sequential":
            _bring_layer_by_layer(pipeline, device)
        case _:
            pipeline.to(device)


def leave_files(pipeline: Any) -> None:
    """Copies weights, which may still be in their file's memory: were the file written to, they would change with it.

    Were it cut off, reading them would end the process. (Which of them were converted, and so are copies, is not told.)
    """
    for model in pipeline.components.values():
        if isinstance(model, nn.Module):
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.data = tensor.data.clone()


def _bring_layer_by_layer(pipeline: Any, device: str) -> None:
    """As diffusers' enable_sequential_cpu_offload, which does not work with the device "cpu", where tests run."""
    for model in pipeline.components.values():
        if isinstance(model, nn.Module):
            cpu_offload(model, torch.device(device), offload_buffers=len(model._parameters) > 0)


def _quantize(unet: nn.Module) -> None:
    """The linear layers' weights as 8-bit integers with a scale for each output: half of half precision's memory."""
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise ConfigurationError("SDXL_QUANTIZE=int8: install requirements-torchao.txt") from None
    quantize_(unet, Int8WeightOnlyConfig(version=2))


def _lay_out_for_gpu(pipeline: Any) -> None:
    for model in (pipeline.unet, pipeline.vae):
        model.to(memory_format=torch.channels_last)  # how tensor cores want convolutions


def fuse_projections(unet: Any) -> None:
    """One matrix product for an attention's query, key and value, by diffusers; the separate weights are let go."""
    unet.fuse_qkv_projections()
    for module in unet.modules():
        if getattr(module, "fused_projections", False):
            module.to_k = module.to_v = None
            if not module.is_cross_attention:
                module.to_q = None


def _use_tensor_cores(dtype: torch.dtype) -> None:
    """TF32 for what is in float32 beside half precision: the VAE where it would overflow.

    Who asks for float32 altogether wants its precision.
    """
    is_half = dtype != torch.float32
    torch.backends.cuda.matmul.allow_tf32 = is_half
    torch.backends.cudnn.allow_tf32 = is_half
