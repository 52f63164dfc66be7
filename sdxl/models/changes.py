"""What a LoRA file says about one layer: a change of its weight or bias, as trainers have invented them.

Every change is added to the layer's output, so that several act side by side and each by its own strength. Shapes:
`weight` is the layer's own, [out, in] of a linear layer, [out, in, height, width] of a convolution, [channels] of a
normalization.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm)  # that can be changed


class Change(Protocol):
    """Of one layer, at strength 1."""

    @property
    def scale(self) -> float:
        """By which all that it adds is multiplied: alpha / rank of most kinds."""

    def added(self, layer: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        """What is added to the layer's `output` for the input `x`, before `scale`."""

    def delta(self, layer: nn.Module) -> tuple[str, Tensor]:
        """The name of the changed parameter, and what is added to it, before `scale`."""


def with_weight(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """What the layer would give with this weight and no bias; it is linear in the weight."""
    match layer:
        case nn.Linear():
            return F.linear(x, weight)
        case nn.Conv2d():
            return layer._conv_forward(x, weight, None)
        case nn.LayerNorm():
            return F.layer_norm(x, layer.normalized_shape, weight, None, layer.eps)
        case nn.GroupNorm():
            return F.group_norm(x, layer.num_groups, weight, None, layer.eps)
    raise TypeError(f"{type(layer).__name__} cannot be changed")


@dataclass(frozen=True, kw_only=True, eq=False)
class LowRank:
    """LoRA: up · down, of a small rank; of a convolution also up · mid · down (Tucker's decomposition, as in LoCon)."""

    down: Tensor  # [rank, in], or [rank, in, height, width]; with mid [rank, in, 1, 1]
    up: Tensor  # [out, rank], or [out, rank, 1, 1]
    mid: Tensor | None = None  # [rank, rank, height, width]
    scale: float = 1.0

    def added(self, layer: nn.Module, x: Tensor, output: Tensor) -> Tensor:  # noqa: ARG002
        """See `Change`."""
        if isinstance(layer, nn.Linear):
            return F.linear(F.linear(x, self.down), self.up)
        if self.mid is None:
            return F.conv2d(with_weight(layer, x, self.down), self.up)
        return F.conv2d(with_weight(layer, F.conv2d(x, self.down), self.mid), self.up)

    def delta(self, layer: nn.Module) -> tuple[str, Tensor]:  # noqa: ARG002
        """See `Change`."""
        if self.mid is None:
            return "weight", (self.up.flatten(1) @ self.down.flatten(1)).reshape(-1, *self.down.shape[1:])
        return "weight", rebuilt(self.mid, self.up.flatten(1).T, self.down.flatten(1))


def rebuilt(core: Tensor, out: Tensor, into: Tensor) -> Tensor:
    """Tucker's decomposition, undone: [out, in, height, width] of `core` [r, s, height, width], `out` and `into`.

    These are [r, out] and [s, in].
    """
    return torch.einsum("rshw,ro,si->oihw", core, out, into)


@dataclass(frozen=True, kw_only=True, eq=False)
class _OfWholeWeight:
    """A change whose weight is made anew for each call: it would take as much memory as the model's."""

    scale: float = 1.0

    def weight(self) -> Tensor:
        raise NotImplementedError

    def added(self, layer: nn.Module, x: Tensor, output: Tensor) -> Tensor:  # noqa: ARG002
        """See `Change`."""
        return with_weight(layer, x, self.weight().reshape(weight_of(layer).shape))

    def delta(self, layer: nn.Module) -> tuple[str, Tensor]:
        """See `Change`."""
        return "weight", self.weight().reshape(weight_of(layer).shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Hadamard(_OfWholeWeight):
    """LoHa: the product, element by element, of two matrices of low rank (FedPara, arXiv 2108.06098)."""

    pairs: tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]
    """[out, rank] and [rank, in] of each; around cores, [rank, out] and [rank, in]."""
    cores: tuple[Tensor, Tensor] | None = None  # each [rank, rank, height, width]

    def weight(self) -> Tensor:
        """[out, in] or the convolution's."""
        (a, b), (c, d) = self.pairs
        if self.cores is None:
            return (a @ b) * (c @ d)
        return rebuilt(self.cores[0], a, b) * rebuilt(self.cores[1], c, d)


@dataclass(frozen=True, kw_only=True, eq=False)
class Kronecker(_OfWholeWeight):
    """LoKr: the Kronecker product of two matrices, each whole or itself of low rank (KronA, arXiv 2212.10650)."""

    left: Tensor  # [a, b]
    right: Tensor  # [out / a, in / b], or with a height and width

    def weight(self) -> Tensor:
        """[out, in] or the convolution's."""
        left = self.left.reshape(*self.left.shape, *[1] * (self.right.ndim - 2))
        return torch.kron(left, self.right.contiguous())


@dataclass(frozen=True, kw_only=True, eq=False)
class Difference(_OfWholeWeight):
    """The whole change of a weight, also of a normalization's."""

    difference: Tensor

    def weight(self) -> Tensor:
        """As it is."""
        return self.difference


@dataclass(frozen=True, kw_only=True, eq=False)
class BiasDifference:
    """The whole change of a bias."""

    difference: Tensor  # [out]
    scale: float = 1.0

    def added(self, layer: nn.Module, x: Tensor, output: Tensor) -> Tensor:  # noqa: ARG002
        """See `Change`."""
        return along_channels(layer, self.difference)

    def delta(self, layer: nn.Module) -> tuple[str, Tensor]:  # noqa: ARG002
        """See `Change`."""
        return "bias", self.difference


@dataclass(frozen=True, kw_only=True, eq=False)
class Decomposed:
    """DoRA: the changed weight's rows, or its columns, are brought to lengths of their own (arXiv 2402.09353).

    At another strength than 1, the difference to the layer's own weight counts, as with any other change.
    """

    inner: Change
    excess: Tensor  # learned length / length - 1: [out, 1, …] of rows, [1, in, …] of columns
    scale: float = 1.0

    @classmethod
    def of(cls, inner: Change, magnitude: Tensor, layer: nn.Module) -> Decomposed:
        """`magnitude` has the learned lengths: of rows as [out, 1, …] or [out], of columns as [1, in, …]."""
        own = weight_of(layer).float()
        changed = own + inner.scale * inner.delta(layer)[1].float()
        ones = [1] * (own.ndim - 2)
        if magnitude.shape[0] == own.shape[0]:
            lengths = changed.flatten(1).norm(dim=1).reshape(-1, 1, *ones)
        else:
            lengths = changed.transpose(0, 1).flatten(1).norm(dim=1).reshape(1, -1, *ones)
        ratio = magnitude.float().reshape(lengths.shape) / (lengths + torch.finfo(torch.float32).eps)
        return cls(inner=inner, excess=(ratio - 1).to(weight_of(layer).dtype))

    def added(self, layer: nn.Module, x: Tensor, output: Tensor) -> Tensor:
        """See `Change`."""
        excess = along_channels(layer, self.excess.flatten())
        if self.excess.shape[0] > 1:
            own = output if layer.bias is None else output - along_channels(layer, layer.bias)  # type: ignore[arg-type]
            return excess * own + (1 + excess) * self.inner.scale * self.inner.added(layer, x, own)
        changed = self.inner.scale * self.inner.added(layer, (1 + excess) * x, output)
        return with_weight(layer, excess * x, weight_of(layer)) + changed

    def delta(self, layer: nn.Module) -> tuple[str, Tensor]:
        """See `Change`."""
        own = weight_of(layer)
        return "weight", self.excess * own + (1 + self.excess) * self.inner.scale * self.inner.delta(layer)[1]


def weight_of(layer: nn.Module) -> Tensor:
    """The layer's weight."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return weight


def along_channels(layer: nn.Module, values: Tensor) -> Tensor:
    """A value for each channel in the shape that the layer's inputs and outputs have."""
    return values.reshape(1, -1, 1, 1) if isinstance(layer, nn.Conv2d | nn.GroupNorm) else values
