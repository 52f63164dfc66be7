"""Small pictures of latents that are still being denoised, by a linear map: no VAE call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sdxl.config.references import UnusableFile

# Of SDXL's own VAE, as ComfyUI has them (latent_formats.SDXL): [4 latent channels, 3 colours], and what is added.
SDXL_WEIGHTS = (
    (0.3651, 0.4232, 0.4341),
    (-0.2533, -0.0042, 0.1068),
    (0.1076, 0.1111, -0.0362),
    (-0.3165, -0.2492, -0.2188),
)
SDXL_BIAS = (0.1084, -0.0175, -0.0011)


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentToRGB:
    """The least-squares map from a latent pixel, of unit variance, to the mean colour (-1 to 1) of 8 x 8 pixels."""

    weights: Tensor  # [4, 3]
    bias: Tensor  # [3]

    @classmethod
    def of(cls, path: Path | None, device: str) -> LatentToRGB:
        """The map of a checkpoint's `latent_rgb.json`; SDXL's own without one. Raises UnusableFile."""
        fitted = json.loads(path.read_text()) if path else {"weights": SDXL_WEIGHTS, "bias": SDXL_BIAS}
        try:
            weights, bias = (torch.tensor(fitted[name], dtype=torch.float32) for name in ("weights", "bias"))
        except (KeyError, ValueError, TypeError) as error:
            raise UnusableFile(f"latent_rgb.json: {error}; weights and bias are needed, in numbers") from error
        if weights.shape != (4, 3) or bias.shape != (3,):
            raise UnusableFile("latent_rgb.json: weights of 4 rows of 3 numbers, and a bias of 3 numbers, are needed")
        return cls(weights=weights.to(device), bias=bias.to(device))

    def picture(self, latents: Tensor) -> NDArray[np.uint8]:
        """Latents [1, 4, h, w] to uint8 [h, w, 3] (RGB)."""
        colours = latents[0].float().permute(1, 2, 0) @ self.weights + self.bias
        levels: NDArray[np.uint8] = ((colours + 1) * 127.5).clamp(0, 255).round().to(torch.uint8).cpu().numpy()
        return levels


def running_latents(sampler: Any, latents: Tensor, timestep: Tensor) -> Tensor:
    """Latents [1, 4, h, w] between two steps, scaled to unit variance by samplers whose latents grow with the noise."""
    scaled: Tensor = sampler.scale_model_input(latents, timestep)
    return scaled
