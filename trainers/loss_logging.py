# SPDX-License-Identifier: Apache-2.0
"""The training loss by task and by quartile of t, averaged between two lines of the log."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from geodit.data.schema import TASKS

_QUARTILES = ("loss_t_0_25", "loss_t_25_50", "loss_t_50_75", "loss_t_75_100")
NAMES = (*(f"loss_{task}" for task in TASKS), *_QUARTILES)
"""What is logged: the loss of each task, and of the answers with t in each quarter of [0, 1]."""


class LossBreakdown:
    """Running sums on the device of the model; processes talk to each other only when they are read."""

    def __init__(self) -> None:
        self._sums: torch.Tensor | None = None

    @torch.no_grad()
    def add(
        self, losses: torch.Tensor, items: torch.Tensor, timesteps: torch.Tensor, task_ids: torch.Tensor | None
    ) -> None:
        """Add the answers of a batch.

        Args:
            losses: `(S,)`, what each answer adds to the loss of the update before it is divided.
            items: `(S,)`, what each adds to the divisor.
            timesteps: `(S,)` in [0, 1].
            task_ids: `(S,)` indices into [`TASKS`], if they are known.
        """
        if self._sums is None:
            self._sums = torch.zeros(len(NAMES), 2, device=losses.device)
        pairs = torch.stack([losses, items], dim=-1)
        quartile = (timesteps * len(_QUARTILES)).long().clamp(max=len(_QUARTILES) - 1)
        groups = torch.arange(len(NAMES), device=losses.device)[:, None]
        belongs = groups == quartile + len(TASKS)
        if task_ids is not None:
            belongs |= groups == task_ids
        # Not index_add_, which on a GPU adds in any order: the same run is to have the same log.
        self._sums += torch.where(belongs[..., None], pairs, 0.0).sum(dim=1)

    def pop(self, accelerator: Accelerator) -> dict[str, float]:
        """Return the means over all processes and start anew. Every process must call it.

        Returns:
            The groups that had an answer, by the names in [`NAMES`].
        """
        sums = torch.zeros(len(NAMES), 2, device=accelerator.device) if self._sums is None else self._sums
        self._sums = None
        # Plain sums: on one process nothing is sent.
        total, count = accelerator.reduce(sums).unbind(-1)
        figures = zip(NAMES, total.tolist(), count.tolist(), strict=True)
        return {name: loss / items for name, loss, items in figures if items}
