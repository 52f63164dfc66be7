"""Calls of a stage's models with any rows and sizes: what time and memory they take is measured by them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sdxl.denoising.latents import decode
from sdxl.models.checkpoint import Checkpoint
from stepbatch.denoising import Conditioning
from stepbatch.shapes import Size
from stepbatch.tick import UNet, stacked


@dataclass(frozen=True, eq=False)
class Probe:
    """The models of a stage. Sizes are of latents (height, width)."""

    checkpoint: Checkpoint
    unet: UNet
    conditioning: Conditioning  # of one row

    @torch.inference_mode()
    def tick(self, rows: int, size: Size) -> None:
        """One UNet call; ends when its result is there."""
        timesteps = torch.full((rows,), 500, device=self.checkpoint.device)
        predicted = self.unet(self._latents(rows, size), timesteps, stacked([self.conditioning] * rows))
        predicted.flatten()[0].item()  # for which the CPU has to wait until the GPU is done

    @torch.inference_mode()
    def decode(self, size: Size) -> None:
        """One picture's decoding; ends when the picture is there."""
        decode(self.checkpoint.pipeline, self._latents(1, size))

    def _latents(self, rows: int, size: Size) -> Tensor:
        return torch.zeros(rows, 4, *size, device=self.checkpoint.device, dtype=self.checkpoint.dtype)
