# SPDX-License-Identifier: Apache-2.0
"""The order in which items are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


class EpochLengthGroupedSampler(LengthGroupedSampler):
    """[`~transformers.trainer_pt_utils.LengthGroupedSampler`] with an order that follows from seed and epoch.

    Transformers' own draws it from the global generator, whose state at the start of an epoch a resumed run does not
    have.

    Args:
        batch_size: Items that are grouped together.
        lengths: Length of each item.
        seed: Seed of the run.
    """

    def __init__(self, batch_size: int, lengths: Sequence[int], *, seed: int) -> None:
        super().__init__(batch_size, lengths=list(lengths), generator=torch.Generator())
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; data loaders call this at its start."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self._epoch)
        order: Iterator[int] = super().__iter__()  # type: ignore[no-untyped-call]
        return order
