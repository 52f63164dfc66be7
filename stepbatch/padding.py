"""Ticks of a few row counts: for UNets compiled for those, or for results that do not depend on a row's company."""

from bisect import bisect_left
from collections.abc import Collection

import torch
from torch import Tensor

from stepbatch.denoising import Conditioning
from stepbatch.tick import UNet


class PaddedUNet:
    """Calls a UNet with the next of `counts` rows, of which those that nobody asked for repeat the first.

    Libraries choose another way to compute for another number of rows, and the ways differ in their rounding:
    with one count alone, there is one way. Raises ValueError for more rows than the largest count.
    """

    def __init__(self, unet: UNet, counts: Collection[int]) -> None:
        self._unet = unet
        self._counts = sorted(counts)

    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """From [n, 4, h, w], [n] and conditioning of n rows to [n, 4, h, w]."""
        wanted = len(latents)
        index = bisect_left(self._counts, wanted)
        if index == len(self._counts):
            raise ValueError(f"a tick of {wanted} rows is more than the {self._counts[-1]} that there may be")
        missing = self._counts[index] - wanted
        if missing == 0:
            return self._unet(latents, timesteps, conditioning)
        padded = Conditioning(
            embeddings=_padded(conditioning.embeddings, missing),
            pooled=_padded(conditioning.pooled, missing),
            time_ids=_padded(conditioning.time_ids, missing),
            adapters=conditioning.adapters + conditioning.adapters[:1] * missing,
        )
        return self._unet(_padded(latents, missing), _padded(timesteps, missing), padded)[:wanted]


def _padded(rows: Tensor, missing: int) -> Tensor:
    return torch.cat([rows, rows[:1].expand(missing, *rows.shape[1:])])
