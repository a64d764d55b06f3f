# SPDX-License-Identifier: Apache-2.0
"""Positions of a canvas and what is known of them: from rows to a grid and back, and nothing is read by the host.

Shapes: B rows, L canvas length, K rows of what is known.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

__all__ = ["DeviceTensors", "Positions", "is_any_of"]


class Positions:
    """The positions of a grid that there are K rows of something for, logits as a rule.

    *Sparse*, there is one for each wanted position, in row-major order. *Dense*, there is one for each position of the
    grid, K = B * L, which is as many whatever is wanted: rows of the other positions have no meaning. The number tells
    which it is; where all are wanted it is the same.

    Args:
        wanted: `(B, L)` bool.
        count: K.
    """

    def __init__(self, wanted: torch.Tensor, count: int) -> None:
        self._wanted = wanted
        self._count = count
        self._dense = count == wanted.numel()
        self._places: torch.Tensor | None = None

    def rows_of(self, grid: torch.Tensor) -> torch.Tensor:
        """`(K, ...)`, what a grid `(B, L, ...)` has at the positions."""
        rows = grid.flatten(0, 1)
        return rows if self._dense else rows.index_select(0, self._find_places())

    def placed(self, rows: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        """Put something into the wanted positions of a grid.

        Args:
            rows: `(K, ...)`.
            grid: `(B, L, ...)`, contiguous; may be overwritten.

        Returns:
            `(B, L, ...)` of the grid's type, the grid elsewhere.
        """
        rows = rows.to(grid.dtype)
        if self._dense:
            wanted = self._wanted.view(*self._wanted.shape, *[1] * (grid.dim() - 2))
            return torch.where(wanted, rows.reshape(grid.shape), grid)
        if grid.dim() == 2:
            return grid.masked_scatter_(self._wanted, rows)
        grid.flatten(0, 1).index_copy_(0, self._find_places(), rows)
        return grid

    def _find_places(self) -> torch.Tensor:
        """`(K,)` int64, where the wanted positions are among all `B * L`, ascending; found once."""
        if self._places is None:
            # `nonzero` would wait for the device to tell how many there are, which is known.
            self._places = (~self._wanted).flatten().to(torch.uint8).argsort(stable=True)[: self._count]
        return self._places


def is_any_of(tokens: torch.Tensor, token_ids: Iterable[int]) -> torch.Tensor:
    """Bool of the shape of `tokens`, true where there is any of some tokens."""
    # Not `torch.isin`, whose second tensor would be copied to the device every time.
    found = torch.zeros_like(tokens, dtype=torch.bool)
    for token_id in token_ids:
        found |= tokens == token_id
    return found


class DeviceTensors:
    """Tensors that do not change, moved once to each device where they are needed.

    Args:
        *tensors: On the CPU.
    """

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._tensors = {torch.device("cpu"): tensors}

    def on(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Return the tensors, there."""
        if device not in self._tensors:
            constants = self._tensors[torch.device("cpu")]
            self._tensors[device] = tuple(tensor.to(device, non_blocking=True) for tensor in constants)
        return self._tensors[device]
