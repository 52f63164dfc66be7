"""The forms in which a pipeline may lie on its device give the same numbers, as far as that shows on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from torch import Tensor, nn

from sdxl.config.settings import MINI, Settings
from sdxl.denoising.latents import decode, encode
from sdxl.models.placement import fuse_projections, place
from tests.loading import load_stage


def settings(**variables: str) -> Settings:
    return Settings.from_environment({f"SDXL_{name.upper()}": value for name, value in variables.items()})


def pipeline(dtype: torch.dtype = torch.float32) -> Any:
    return StableDiffusionXLPipeline.from_pretrained(MINI / "base", dtype=dtype, add_watermarker=False)


@pytest.fixture(scope="module")
def usual() -> Any:
    """The pipeline as it is loaded."""
    return pipeline()


def predicted(of: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    rows = 2
    prompt, _, pooled, _ = of.encode_prompt("a red cube", device="cpu", do_classifier_free_guidance=False)
    with torch.inference_mode():
        output: Tensor = of.unet(
            torch.randn(rows, 4, 16, 16, generator=generator).to(prompt.dtype),
            torch.tensor([700.0, 300.0]),
            encoder_hidden_states=prompt.repeat(rows, 1, 1),
            added_cond_kwargs={"text_embeds": pooled.repeat(rows, 1), "time_ids": torch.full((rows, 6), 128.0)},
            return_dict=False,
        )[0]
    return output


def latents() -> Tensor:
    return torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("offload", ["model", "sequential"])
@torch.inference_mode()
def test_offload_changes_no_number(offload: str, usual: Any) -> None:
    offloaded = pipeline()
    place(offloaded, settings(offload=offload), "cpu")
    assert torch.equal(predicted(offloaded), predicted(usual))
    assert (decode(offloaded, latents()) == decode(usual, latents())).all()
    assert torch.equal(predicted(offloaded), predicted(usual))  # and again, once the VAE has had its turn


@torch.inference_mode()
def test_8_bit_weights_take_a_quarter_and_change_little(usual: Any) -> None:
    quantized = pipeline()
    place(quantized, settings(quantize="int8"), "cpu")
    expected, got = predicted(usual), predicted(quantized)
    assert not torch.equal(got, expected)
    assert ((got - expected).std() / expected.std()).item() < 0.02
    before = linear_bytes(usual.unet, lambda weight: weight.nbytes)
    after = linear_bytes(quantized.unet, lambda weight: weight.qdata.nbytes + weight.scale.nbytes)
    assert after / before < 0.27


def linear_bytes(unet: nn.Module, size: Callable[[Any], int]) -> int:
    return sum(size(module.weight) for module in unet.modules() if isinstance(module, nn.Linear))


def test_fused_projections_change_no_more_than_rounding_and_keep_no_weight_twice(usual: Any) -> None:
    fused = pipeline()
    fuse_projections(fused.unet)
    torch.testing.assert_close(predicted(fused), predicted(usual), atol=1e-5, rtol=1e-5)
    assert sum(p.numel() for p in fused.unet.parameters()) == sum(p.numel() for p in usual.unet.parameters())


@torch.inference_mode()
def test_a_picture_with_nan_is_decoded_again_in_float32() -> None:
    of = pipeline(torch.bfloat16)
    seen: list[torch.dtype] = []

    def overflow_in_half(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.append(output.dtype)
        return output if output.dtype == torch.float32 else torch.full_like(output, torch.nan)

    of.vae.decoder.register_forward_hook(overflow_in_half)
    got = decode(of, latents().to(torch.bfloat16))
    assert seen == [torch.bfloat16, torch.float32]
    assert of.vae.dtype == torch.bfloat16
    rounded = pipeline()
    rounded.vae.to(torch.bfloat16).to(torch.float32)
    expected = decode(rounded, latents().to(torch.bfloat16).float())
    assert (got == expected).all()


@pytest.mark.parametrize(
    ("upcast", "offload", "dtype"),
    [
        ("true", "none", torch.float32),
        ("true", "model", torch.float32),
        ("true", "sequential", torch.float32),
        ("false", "none", torch.float16),
    ],
)
def test_a_float16_vae_that_asks_for_it_decodes_in_float32_unless_told_not_to(
    upcast: str, offload: str, dtype: torch.dtype
) -> None:
    of = pipeline(torch.float16)
    of.vae.register_to_config(force_upcast=True)
    place(of, settings(vae_upcast=upcast, offload=offload), "cpu")
    seen: list[torch.dtype] = []
    of.vae.decoder.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    with torch.inference_mode():
        decode(of, latents().half())
    assert seen == [dtype]
    assert of.vae.dtype == torch.float16


@torch.inference_mode()
def test_large_pictures_are_decoded_in_tiles() -> None:
    of = pipeline()
    place(of, settings(vae_tiling="true"), "cpu")
    sizes: list[tuple[int, ...]] = []
    of.vae.decoder.register_forward_hook(lambda _, inputs, __: sizes.append(tuple(inputs[0].shape[2:])))
    native = of.unet.config.sample_size
    wide = torch.randn(1, 4, native, 3 * native)
    assert decode(of, wide).shape == (8 * native, 24 * native, 3)
    assert len(sizes) > 1
    assert max(map(max, sizes)) <= native


def test_encode_works_on_offloaded_models() -> None:
    checkpoint = load_stage("base", settings(offload="model"))
    image = Image.new("RGB", (128, 128), "red")
    with torch.inference_mode():
        got = encode(checkpoint.img2img, image, torch.tensor([0]), torch.Generator().manual_seed(0), adds_noise=False)
    assert got.shape == (1, 4, 16, 16)
