# SPDX-License-Identifier: Apache-2.0
"""Data sets whose items follow from the epoch, too, and mixes of several by weight."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from geodit.configuration.types_geodit import Item

__all__ = ["EpochDataset", "WeightedMix"]


class EpochDataset(torch.utils.data.Dataset[Item]):
    """A data set whose items follow from the epoch and their number in it, and from nothing else.

    An index holds both: `epoch * len(dataset) + number`, as [`~geodit.trainers.samplers.EpochIndexSampler`] yields it.
    So a run that was cut off goes on as it would have, whatever the number of workers. Who asks for indices below the
    length, or iterates, sees the first epoch.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Item: ...

    @abstractmethod
    def lengths_at(self, epoch: int) -> list[int]:
        """Return the length of each item in an epoch, for grouping items of like length."""

    @property
    def lengths(self) -> list[int]:
        """The lengths in the first epoch."""
        return self.lengths_at(0)

    def __iter__(self) -> Iterator[Item]:
        return (self[number] for number in range(len(self)))


class WeightedMix(EpochDataset):
    """Several data sets, each of which is drawn from as often as its weight says.

    A data set of N items with weight w has round(N w) items in an epoch, and at least one. It is gone through again
    and again in another order each time, and an epoch goes on where the one before has stopped: with weight 2 an epoch
    has each item twice, with weight 0.5 it has half of them, and the next one has the other half.

    Args:
        parts: The data sets. Lengths of items are known if all parts have `lengths`.
        weights: One for each, above 0.
        seed: Of the orders.

    Raises:
        ValueError: If there is not one weight for each, a weight is not a number above 0, or a data set is empty.
    """

    def __init__(self, parts: Sequence[torch.utils.data.Dataset[Item]], weights: Sequence[float], seed: int) -> None:
        if len(parts) != len(weights) or not parts:
            raise ValueError(f"{len(parts)} data sets have {len(weights)} weights: give one for each")
        self._parts = list(parts)
        self._sizes = [len(part) for part in parts]  # type: ignore[arg-type]
        for size, weight in zip(self._sizes, weights, strict=True):
            if not 0.0 < weight < math.inf:
                raise ValueError(f"a weight must be a number above 0, got {weight}")
            if not size:
                raise ValueError("a data set to be mixed with others is empty")
        self._shares = [max(1, round(size * weight)) for size, weight in zip(self._sizes, weights, strict=True)]
        self._starts = np.cumsum([0, *self._sizes])
        self._seed = seed
        self._known: tuple[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return sum(self._shares)

    def items_at(self, epoch: int) -> NDArray[np.int64]:
        """Return the items of an epoch, as their numbers in all data sets one after the other."""
        if self._known is None or self._known[0] != epoch:
            drawn = [self._draw(part, epoch) + self._starts[part] for part in range(len(self._parts))]
            self._known = epoch, np.concatenate(drawn)
        return self._known[1]

    def _draw(self, part: int, epoch: int) -> NDArray[np.int64]:
        """Return the items of one data set that are due in an epoch."""
        size, share = self._sizes[part], self._shares[part]
        first, last = epoch * share, (epoch + 1) * share
        passes = range(first // size, (last - 1) // size + 1)
        orders = [np.random.default_rng([self._seed, part, number]).permutation(size) for number in passes]
        offset = first - passes[0] * size
        drawn: NDArray[np.int64] = np.concatenate(orders)[offset : offset + share].astype(np.int64)
        return drawn

    def __getitem__(self, index: int) -> Item:
        epoch, number = divmod(index, len(self))
        item = int(self.items_at(epoch)[number])
        part = int(np.searchsorted(self._starts, item, side="right")) - 1
        found: Item = self._parts[part][item - int(self._starts[part])]
        return found

    def lengths_at(self, epoch: int) -> list[int]:
        """Return the length of each item in an epoch.

        Raises:
            AttributeError: If a data set does not know the lengths of its items.
        """
        lengths = np.concatenate([np.asarray(getattr(part, "lengths"), dtype=np.int64) for part in self._parts])  # noqa: B009 - data sets of torch have none
        found: list[int] = lengths[self.items_at(epoch)].tolist()
        return found
