"""Ticks of one row count, for results that do not depend on a row's company to the last bit."""

import torch
from torch import Tensor

from stepbatch.job import Conditioning
from stepbatch.tick import UNet


class PaddedUNet:
    """Calls a UNet with always the same number of rows, of which those that nobody asked for repeat the first.

    Libraries choose another way to compute for another number of rows, and the ways differ in their rounding.
    Raises ValueError for more rows than that.
    """

    def __init__(self, unet: UNet, rows: int) -> None:
        self._unet = unet
        self._rows = rows

    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """From [n, 4, h, w], [n] and conditioning of n rows to [n, 4, h, w]."""
        wanted = len(latents)
        if wanted > self._rows:
            raise ValueError(f"a tick of {wanted} rows is more than the {self._rows} of every call")
        padded = Conditioning(
            embeddings=self._pad(conditioning.embeddings),
            pooled=self._pad(conditioning.pooled),
            time_ids=self._pad(conditioning.time_ids),
        )
        return self._unet(self._pad(latents), self._pad(timesteps), padded)[:wanted]

    def _pad(self, rows: Tensor) -> Tensor:
        missing = self._rows - len(rows)
        return torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])])
