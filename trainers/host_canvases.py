# SPDX-License-Identifier: Apache-2.0
"""What the noise needs of a batch, kept on the CPU: a batch that has gone to a GPU need not be asked for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from geodit.configuration.types_geodit import Batch

_CANVASES = "canvases"


@dataclass(frozen=True)
class HostCanvases:
    """The true tokens of a batch on the CPU.

    Args:
        input_ids: `(B, L)` int64.
        labels: `(B, L)` int64, -100 outside the canvases.
        segment_ids: `(B, L)` int64 where rows hold several questions, else `None`.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    segment_ids: torch.Tensor | None

    @property
    def canvas_mask(self) -> torch.Tensor:
        """`(B, L)` bool, true on the canvases."""
        return self.labels != -100

    @classmethod
    def of_batch(cls, batch: Batch) -> HostCanvases:
        """Return what a [`HostCanvasCollator`] has put aside, or read it from the batch, which waits for its device.

        Args:
            batch: A batch with `input_ids`, `labels` and perhaps `segment_ids`, on any device.
        """
        kept = batch.get(_CANVASES)
        # Whoever has cut the batch into parts since has left this as it was.
        if isinstance(kept, HostCanvases) and kept.labels.shape == batch["labels"].shape:
            return kept
        segment_ids = batch.get("segment_ids")
        return cls(batch["input_ids"].cpu(), batch["labels"].cpu(), None if segment_ids is None else segment_ids.cpu())


@dataclass(frozen=True)
class HostCanvasCollator:
    """Keeps the [`HostCanvases`] of a collator's batches beside them, where data loaders leave them on the CPU.

    Args:
        collate: The collator. Batches without `input_ids` and `labels` stay as they are.
    """

    collate: Callable[[list[Any]], Batch]

    def __call__(self, items: list[Any]) -> Batch:
        """Collate a batch."""
        batch = dict(self.collate(items))
        return batch | {_CANVASES: HostCanvases.of_batch(batch)} if {"input_ids", "labels"} <= batch.keys() else batch
