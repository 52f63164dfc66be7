"""One layer of a UNet or a text encoder, and what LoRAs add to its output, row by row."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sdxl.models.changes import Change, LowRank, with_weight


class Rows:
    """Which LoRAs each row of a call has, and how strongly."""

    def __init__(self, adapters: Sequence[Sequence[tuple[Hashable, float]]]) -> None:
        self.strengths = [dict(row) for row in adapters]
        self.keys = sorted({key for row in self.strengths for key in row}, key=repr)
        self.identity = tuple(tuple(row) for row in adapters)

    def of(self, key: Hashable) -> list[float]:
        """Of each row."""
        return [row.get(key, 0.0) for row in self.strengths]


class ChangedLayer(nn.Module):
    """Stands in a layer's place while any row has a LoRA that changes it.

    All low-rank changes are computed at once: with the ranks of the call's LoRAs side by side, down [ranks, in] is
    applied to all rows, each row's factors [rows, ranks] are 0 where a LoRA is not its own, and up [ranks, out] brings
    all together: two matrix products, however many LoRAs there are. That nothing is gathered, and that rows differ
    in a tensor of factors alone, is what CUDA graphs and compiled code need: with ranks filled up to a fixed number,
    `down`, `up` and the factors would be their inputs. Changes of other kinds are added to their rows one by one.
    """

    def __init__(self, layer: nn.Module, *, row_by_row: bool = False) -> None:
        """`row_by_row`: a row's bits do not depend on its company's LoRAs, for which each is computed by itself."""
        super().__init__()
        self.layer = layer
        self._row_by_row = row_by_row
        self.changes: dict[Hashable, list[Change]] = {}
        """By each LoRA's key."""
        self.forget()

    def forget(self) -> None:
        """Lets go of what was made for the last rows."""
        self._rows: Rows | None = None
        self._stacked: tuple[Any, ...] = ()  # the low-rank changes that `_down` and `_up` are of
        self._down = self._up = self._factors = torch.empty(0)
        self._others: list[tuple[Change, Tensor, Tensor]] = []

    def __getattr__(self, name: str) -> Any:
        """The layer's own weight and sizes, which pipelines ask for."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)

    def turn_to(self, rows: Rows) -> bool:
        """Prepares for these rows; whether any of them is changed here."""
        if self._rows is not None and self._rows.identity == rows.identity:
            return bool(self._stacked or self._others)
        self._rows = rows
        found = [(change, rows.of(key)) for key in rows.keys for change in self.changes.get(key, ())]
        low = [(change, strengths) for change, strengths in found if self._is_stacked(change)]
        self._stack([change for change, _ in low if isinstance(change, LowRank)])
        if low:
            factors = [
                [strengths[row] * change.scale for change, strengths in low for _ in range(len(change.down))]  # type: ignore[attr-defined]
                for row in range(len(rows.strengths))
            ]
            self._factors = torch.tensor(factors).to(self._down)
        self._others = [
            self._of_rows(change, strengths)
            for change, together in found
            if not self._is_stacked(change)
            for strengths in (_each_alone(together) if self._row_by_row else [together])
        ]
        return bool(found)

    def _is_stacked(self, change: Change) -> bool:
        return isinstance(change, LowRank) and change.mid is None and not self._row_by_row

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, with what each row's LoRAs add to it."""
        output: Tensor = self.layer(x)
        added = [(rows, self._added(change, x, output, rows, factors)) for change, rows, factors in self._others]
        if self._stacked:
            output = self._with_low_rank(x, output)
        for rows, each in added:
            output = output.index_add(0, rows, each)
        return output

    def _with_low_rank(self, x: Tensor, output: Tensor) -> Tensor:
        """In the output's own memory, which is the layer's and nobody else's: fresh memory costs more than sums."""
        if isinstance(self.layer, nn.Linear):
            inner = _own(F.linear(x, self._down), _among(self._factors, x.ndim))
            output.view(-1, output.shape[-1]).addmm_(inner.view(-1, inner.shape[-1]), self._up)
            return output
        inner = _own(with_weight(self.layer, x, self._down), self._factors[:, :, None, None])
        return output.add_(F.conv2d(inner, self._up))

    def _added(self, change: Change, x: Tensor, output: Tensor, rows: Tensor, factors: Tensor) -> Tensor:
        own = output.index_select(0, rows)
        added = change.added(self.layer, x.index_select(0, rows), own).expand_as(own)
        return added * factors.reshape(-1, *[1] * (own.ndim - 1))

    def _stack(self, changes: list[LowRank]) -> None:
        wanted = tuple(changes)
        if len(wanted) == len(self._stacked) and all(a is b for a, b in zip(wanted, self._stacked, strict=True)):
            return
        self._stacked = wanted
        if changes:
            self._down = torch.cat([change.down for change in changes])
            up = torch.cat([change.up for change in changes], dim=1)
            self._up = up.t().contiguous() if isinstance(self.layer, nn.Linear) else up

    def _of_rows(self, change: Change, strengths: list[float]) -> tuple[Change, Tensor, Tensor]:
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        rows = [row for row, strength in enumerate(strengths) if strength]
        factors = [strengths[row] * change.scale for row in rows]
        return change, torch.tensor(rows, device=weight.device), torch.tensor(factors).to(weight)


def _own(inner: Tensor, factors: Tensor) -> Tensor:
    """Each row's own part, times its factors. A product with 0 would be NaN where another's LoRA overflows."""
    return torch.where(factors == 0, 0, inner * factors)


def _each_alone(strengths: list[float]) -> list[list[float]]:
    """For each row that has any, the strengths with those of all other rows left out."""
    rows = [row for row, strength in enumerate(strengths) if strength]
    return [[strength if row == own else 0.0 for row, strength in enumerate(strengths)] for own in rows]


def _among(factors: Tensor, dimensions: int) -> Tensor:
    """[rows, ranks] as [rows, 1, …, ranks]."""
    return factors.reshape(len(factors), *[1] * (dimensions - 2), factors.shape[1])
