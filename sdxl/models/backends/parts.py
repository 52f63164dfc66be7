"""The models of a pipeline: how each is converted, and what stands in its place, so that diffusers sees no difference.

A model becomes one ONNX file or two, each of a module that takes and gives only tensors. Its stand-in has no weights,
but the model's own configuration, and its signature as far as diffusers' pipelines and this project call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from sdxl.models.backends.attention import exported_attention
from sdxl.models.backends.backend import Run
from sdxl.models.backends.export import Input, Part

# What the examples have. Odd sizes, so that the UNet is traced on the branch that asks each skip connection for its
# size: the one that is right for all sizes.
ROWS, HEIGHT, WIDTH = 2, 19, 17
FACTOR = 8  # pixels per latent
ANY_PICTURE = (0, 2, 3)  # rows, height and width differ


class StandIn(nn.Module):
    """For diffusers a model like any other, on the CPU and in float32 wherever it is moved to."""

    device = torch.device("cpu")
    dtype = torch.float32

    def __init__(self, config: Any, runs: Sequence[Run]) -> None:
        """`runs` are those of the model's parts, in their order."""
        super().__init__()
        self.config = config
        self.runs = runs


class ConvertedUNet(StandIn):
    """In place of UNet2DConditionModel."""

    def __init__(self, config: Any, runs: Sequence[Run]) -> None:
        super().__init__(config, runs)
        # By this, pipelines check their size conditioning.
        width = config.projection_class_embeddings_input_dim
        self.add_embedding = SimpleNamespace(linear_1=SimpleNamespace(in_features=width))

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        *,
        added_cond_kwargs: dict[str, Tensor],
        return_dict: bool,
    ) -> tuple[Tensor]:
        """From n rows to their prediction, [n, 4, h, w]."""
        assert not return_dict
        pooled, ids = added_cond_kwargs["text_embeds"], added_cond_kwargs["time_ids"]
        (predicted,) = self.runs[0]((sample, timestep.float(), encoder_hidden_states, pooled, ids))
        return (predicted,)


class ConvertedVAE(StandIn):
    """In place of AutoencoderKL."""

    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """From pixels [n, 3, 8h, 8w], -1 to 1, to the distribution of their latents [n, 4, h, w]."""
        (moments,) = self.runs[0]((x,))
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """From latents [n, 4, h, w] to pixels [n, 3, 8h, 8w]."""
        (pixels,) = self.runs[1]((z,))
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)


class ConvertedTextEncoder(StandIn):
    """In place of CLIPTextModel or CLIPTextModelWithProjection."""

    def forward(self, input_ids: Tensor, *, output_hidden_states: bool) -> BaseModelOutput:
        """From tokens [n, 77] to what the model gives first (with a projection the pooled embedding), and all layers.

        Pipelines take the first by its place and not by its name, which is not always the one that it has here.
        """
        assert output_hidden_states
        first, *layers = self.runs[0]((input_ids,))
        return BaseModelOutput(last_hidden_state=first, hidden_states=tuple(layers))


STAND_INS: dict[str, type[StandIn]] = {
    "unet": ConvertedUNet,
    "vae": ConvertedVAE,
    "text_encoder": ConvertedTextEncoder,
    "text_encoder_2": ConvertedTextEncoder,
}


class _UNet(nn.Module):
    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, latents: Tensor, timesteps: Tensor, embeddings: Tensor, pooled: Tensor, ids: Tensor) -> Tensor:
        added = {"text_embeds": pooled, "time_ids": ids}
        return self.unet(latents, timesteps, embeddings, added_cond_kwargs=added, return_dict=False)[0]


class _Encoder(nn.Module):
    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: Tensor) -> Tensor:
        return self.vae.encode(pixels).latent_dist.parameters


class _Decoder(nn.Module):
    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents, return_dict=False)[0]


class _TextEncoder(nn.Module):
    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        output = self.encoder(tokens, output_hidden_states=True)
        return output[0], *output.hidden_states


def parts(name: str, pipeline: Any) -> list[Part]:
    """What a pipeline's model of that name is converted as."""
    model = getattr(pipeline, name)
    if name in ("unet", "vae"):
        model.set_attn_processor(exported_attention())
    if name == "unet":
        inputs = _unet_inputs(model.config, pipeline.text_encoder_2.config.projection_dim)
        return [Part(name="unet", module=_UNet(model), inputs=inputs)]
    if name == "vae":
        pixels = torch.zeros(1, model.config.in_channels, FACTOR * HEIGHT, FACTOR * WIDTH)
        latents = torch.zeros(1, model.config.latent_channels, HEIGHT, WIDTH)
        return [
            Part(name="vae_encoder", module=_Encoder(model), inputs={"pixels": Input(pixels, ANY_PICTURE)}),
            Part(name="vae_decoder", module=_Decoder(model), inputs={"latents": Input(latents, ANY_PICTURE)}),
        ]
    tokens = torch.zeros(1, model.config.max_position_embeddings, dtype=torch.int64)
    return [Part(name=name, module=_TextEncoder(model), inputs={"tokens": Input(tokens, (0,))})]


def _unet_inputs(config: Any, pooled_width: int) -> dict[str, Input]:
    """Timesteps are float32, in which whole ones are exact."""
    id_count = (config.projection_class_embeddings_input_dim - pooled_width) // config.addition_time_embed_dim
    return {
        "latents": Input(torch.zeros(ROWS, config.in_channels, HEIGHT, WIDTH), ANY_PICTURE),
        "timesteps": Input(torch.zeros(ROWS), (0,)),
        "embeddings": Input(torch.zeros(ROWS, 77, config.cross_attention_dim), (0, 1)),
        "pooled": Input(torch.zeros(ROWS, pooled_width), (0,)),
        "time_ids": Input(torch.zeros(ROWS, id_count), (0,)),
    }
