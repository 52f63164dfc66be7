"""Contexts of unlike length in one UNet call.

Attention over a context that comes k times is attention over it once: each copy of a key gets the k-th part of its
weight, and the copies have the same values. So contexts are repeated until all are equally long, and need no mask.
"""

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from torch import Tensor


def common_length(lengths: Iterable[int]) -> int:
    """The least that all can be repeated to."""
    return math.lcm(*lengths)


def repeated(contexts: Tensor, tokens: int) -> Tensor:
    """[rows, own tokens, width] as [rows, tokens, width]; without a copy if they are so long already."""
    own = contexts.shape[1]
    return contexts if own == tokens else contexts.repeat(1, tokens // own, 1)


@dataclass(frozen=True, kw_only=True)
class ContextLimit:
    """Which contexts may share a tick."""

    tokens: int | None
    """Up to which length contexts are repeated for each other; None: they are not, and all must be equally long."""

    def allows(self, lengths: Collection[int]) -> bool:
        """Whether contexts of these lengths may."""
        if self.tokens is None:
            return len(set(lengths)) <= 1
        return common_length(lengths) <= max((self.tokens, *lengths))


ANY_CONTEXTS = ContextLimit(tokens=2**31)
