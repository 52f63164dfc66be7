"""The mask, and what is put back after each step, beside diffusers' own."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from sdxl.denoising.inpainting import InpaintingSampler, latent_mask
from sdxl.denoising.sampler import img2img_steps, make_sampler
from sdxl.request.fields import MaskedContent
from sdxl.request.samplers import SAMPLERS
from tests.service.server import ROOT

CONFIG = json.loads((ROOT / "checkpoints/mini/base/scheduler/scheduler_config.json").read_text())
ORIGINAL = torch.full((1, 4, 8, 8), 0.5)
LEFT_HALF = torch.cat([torch.ones(1, 1, 8, 4), torch.zeros(1, 1, 8, 4)], dim=3).to(torch.uint8)


@pytest.mark.parametrize("size", [(64, 64), (131, 77), (200, 104)])
def test_the_latent_mask_is_diffusers(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0]), dtype=np.uint8)
    mask = Image.fromarray(noise)
    height, width = size[1] // 8 * 8, size[0] // 8 * 8
    processor = VaeImageProcessor(do_normalize=False, do_binarize=True, do_convert_grayscale=True)
    at_pixels = processor.preprocess(mask, height=height, width=width)
    expected = torch.nn.functional.interpolate(at_pixels, size=(height // 8, width // 8))
    assert torch.equal(latent_mask(mask), expected.to(torch.uint8))


def test_only_0_and_1_are_in_it() -> None:
    levels = np.repeat(np.array([[0, 127, 128, 255]], dtype=np.uint8), 8, axis=1).repeat(8, axis=0)
    assert latent_mask(Image.fromarray(levels)).tolist() == [[[[0, 0, 1, 1]]]]


def inpainting(name: Any, steps: int, strength: float) -> tuple[InpaintingSampler, torch.Tensor]:
    sampler = make_sampler(name, CONFIG)
    timesteps = img2img_steps(sampler, steps, strength)
    return InpaintingSampler(sampler, timesteps, ORIGINAL, LEFT_HALF, torch.Generator().manual_seed(1)), timesteps


@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_kept_has_each_timesteps_noise_and_none_in_the_end(name: str) -> None:
    wrapped, timesteps = inpainting(name, 6, 0.9)
    noise = torch.randn(ORIGINAL.shape, generator=torch.Generator().manual_seed(1))
    latents = wrapped.first_latents(0.9)
    for index, timestep in enumerate(timesteps):
        scaled = wrapped.scale_model_input(latents, timestep)
        (latents,) = wrapped.step(scaled, timestep, latents, return_dict=False)
        kept, amounts = latents[..., 4:], []
        if index + 1 < len(timesteps):  # the original by one factor and the noise by another, all over
            design = torch.stack([ORIGINAL[..., 4:].flatten(), noise[..., 4:].flatten()], dim=1)
            amounts = torch.linalg.lstsq(design, kept.flatten()).solution.tolist()
            assert torch.allclose(design @ torch.tensor(amounts), kept.flatten(), atol=1e-4)
            assert amounts[1] > 0
        else:
            assert torch.equal(kept, ORIGINAL[..., 4:])
        assert not torch.equal(latents[..., :4], ORIGINAL[..., :4])


def test_what_is_masked_may_begin_with_noise_or_nothing() -> None:
    noise = torch.randn(ORIGINAL.shape, generator=torch.Generator().manual_seed(1))
    begins = {}
    for content in get_args(MaskedContent):
        wrapped, timesteps = inpainting("ddim", 6, 0.7)
        begins[content] = wrapped.first_latents(0.7, content)
        assert torch.equal(begins[content][..., 4:], begins["original"][..., 4:]), "what is kept"
    plain = make_sampler("ddim", CONFIG)
    for content, latents in (
        ("original", ORIGINAL),
        ("fill", ORIGINAL),
        ("noise", noise),
        ("nothing", torch.zeros_like(noise)),
    ):
        expected = plain.add_noise(latents, noise, timesteps[:1])
        assert torch.allclose(begins[content][..., :4], expected[..., :4], atol=1e-6)


def test_at_strength_1_it_begins_with_noise_alone() -> None:
    wrapped, _ = inpainting("ddim", 6, 1.0)
    noise = torch.randn(ORIGINAL.shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(wrapped.first_latents(1.0), noise)
    assert not torch.equal(wrapped.first_latents(0.9999), noise)


def test_step_options_reach_the_sampler() -> None:
    class Listening:
        def add_noise(self, original: torch.Tensor, *_: object) -> torch.Tensor:
            return original

        def step(self, *_: object, **options: object) -> tuple[torch.Tensor]:
            self.options = options
            return (ORIGINAL,)

    listening = Listening()
    generator = torch.Generator()
    wrapped = InpaintingSampler(listening, torch.tensor([500, 1]), ORIGINAL, LEFT_HALF, generator)
    wrapped.step(ORIGINAL, torch.tensor(500), ORIGINAL, return_dict=False, generator=generator, eta=0.0)
    assert listening.options == {"return_dict": False, "generator": generator, "eta": 0.0}
