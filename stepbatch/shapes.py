"""A UNet that is fast for a few shapes, beside one that takes all."""

from collections.abc import Collection

from torch import Tensor

from stepbatch.denoising import Conditioning
from stepbatch.padding import PaddedUNet
from stepbatch.tick import UNet

Size = tuple[int, int]  # latent height and width


class UNetOfShapes:
    """Calls `fast` for latents of one of `sizes`, with the next of `counts` rows; `other` for all else.

    `other`, too, if contexts have other than `tokens`, or if any row has adapters, which `fast` was not made for. So a
    compiled UNet never has to be compiled while jobs wait.
    """

    def __init__(
        self,
        fast: UNet,
        other: UNet,
        *,
        counts: Collection[int],
        sizes: Collection[Size],
        tokens: int,
    ) -> None:
        self._fast = PaddedUNet(fast, counts)
        self._other = other
        self._most_rows = max(counts)
        self._sizes = frozenset(sizes)
        self._tokens = tokens

    def __call__(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """From [n, 4, h, w], [n] and conditioning of n rows to [n, 4, h, w]."""
        rows, _, height, width = latents.shape
        is_known = (height, width) in self._sizes and rows <= self._most_rows and conditioning.tokens == self._tokens
        if not is_known or any(conditioning.adapters):
            return self._other(latents, timesteps, conditioning)
        # Samplers have int64 or float32. Code is compiled for one dtype; float32 is exact for both.
        return self._fast(latents, timesteps.float(), conditioning)
