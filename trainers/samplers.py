# SPDX-License-Identifier: Apache-2.0
"""The order in which items are drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
        lengths_at: Returns the lengths in an epoch, as many, where they are not the same in all.
    """

    def __init__(
        self,
        batch_size: int,
        lengths: Sequence[int],
        *,
        seed: int,
        lengths_at: Callable[[int], Sequence[int]] | None = None,
    ) -> None:
        super().__init__(batch_size, lengths=list(lengths), generator=torch.Generator())
        self._seed = seed
        self._lengths_at = lengths_at
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; data loaders call this at its start."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self._seed + self._epoch)
        if self._lengths_at is not None:
            self.lengths = list(self._lengths_at(self._epoch))
        order: Iterator[int] = super().__iter__()  # type: ignore[no-untyped-call]
        return order


class EpochRandomSampler(torch.utils.data.Sampler[int]):
    """A random order that follows from seed and epoch.

    Accelerate makes one of a [`~torch.utils.data.RandomSampler`], but not of one that stands behind another sampler.

    Args:
        length: How many items there are.
        seed: Seed of the run.
    """

    def __init__(self, length: int, *, seed: int) -> None:
        self._length = length
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; data loaders call this at its start."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch)
        order: list[int] = torch.randperm(self._length, generator=generator).tolist()
        return iter(order)


class EpochIndexSampler(torch.utils.data.Sampler[int]):
    """The indices of another sampler, each with the number of the epoch: `epoch * length + index`.

    The worker that reads an item knows the epoch by that.

    Args:
        sampler: The order of the items.
        length: How many items there are.
    """

    def __init__(self, sampler: torch.utils.data.Sampler[int], length: int) -> None:
        self.sampler = sampler
        self._length = length
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; data loaders call this at its start."""
        self._epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        return (self._epoch * self._length + index for index in self.sampler)
