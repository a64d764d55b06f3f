# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals by resampling images with replacement."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["bootstrap_intervals"]

Figures = Callable[[NDArray[np.intp]], Mapping[str, "float | None"]]


def bootstrap_intervals(
    figures: Figures,
    groups: Sequence[Hashable],
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence_level: float = 0.95,
) -> dict[str, tuple[float, float] | None]:
    """Compute percentile bootstrap intervals of figures that are computed from samples.

    Whole groups are drawn. Several questions about one image are not independent, so the group of a sample is
    its image; drawing questions instead would make the intervals too narrow.

    Args:
        figures: Function of sample indices, shape (M,), repetitions included, to named figures. A figure that
            a resample leaves undefined is `None` and does not count.
        groups: The group of every sample.
        resamples: How often to resample.
        seed: Seed of the resampling.
        confidence_level: Share of the resamples inside the interval.

    Returns:
        `(low, high)` for every figure, or `None` where no resample defined it.

    Raises:
        ValueError: If there are no samples, `resamples` < 1 or `confidence_level` is not inside (0, 1).

    Source: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapter 13.
    """
    if not groups:
        raise ValueError("cannot bootstrap: there are no samples")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level must lie between 0 and 1, not {confidence_level}")
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    samples_of = [np.asarray(indices, dtype=np.intp) for indices in members.values()]

    rng = np.random.default_rng(seed)
    values: dict[str, list[float]] = {}
    for _ in range(resamples):
        drawn = rng.integers(len(samples_of), size=len(samples_of))
        resample = figures(np.concatenate([samples_of[group] for group in drawn]))
        for name, value in resample.items():
            values.setdefault(name, [])
            if value is not None:
                values[name].append(value)

    tail = (1 - confidence_level) / 2
    intervals: dict[str, tuple[float, float] | None] = {}
    for name, sample in values.items():
        if sample:
            low, high = np.quantile(sample, [tail, 1 - tail])
            intervals[name] = (float(low), float(high))
        else:
            intervals[name] = None
    return intervals
