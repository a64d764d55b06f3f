# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals by resampling images with replacement, and of shares of 0 and 1."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geodit.evaluation.optional import import_optional

__all__ = ["Figures", "bootstrap_intervals", "group_members", "resample_figures", "wilson_interval"]

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
    if not 0 < confidence_level < 1:
        raise ValueError(f"confidence_level must lie between 0 and 1, not {confidence_level}")
    values: dict[str, list[float]] = {}
    for resample in resample_figures(figures, groups, resamples=resamples, seed=seed):
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


def resample_figures(
    figures: Figures, groups: Sequence[Hashable], *, resamples: int = 1000, seed: int = 0
) -> Iterator[Mapping[str, float | None]]:
    """Yield the figures of each resample, in which whole groups are drawn with replacement.

    Args:
        figures: As for [`bootstrap_intervals`].
        groups: The group of every sample.
        resamples: How often to resample.
        seed: Seed of the resampling.

    Raises:
        ValueError: If there are no samples or `resamples` < 1.
    """
    if not groups:
        raise ValueError("cannot bootstrap: there are no samples")
    if resamples < 1:
        raise ValueError(f"resamples must be at least 1, not {resamples}")
    members = group_members(groups)
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = rng.integers(len(members), size=len(members))
        yield figures(np.concatenate([members[group] for group in drawn]))


def group_members(groups: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    """Return the indices of the samples of each group, in the order in which groups appear first."""
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    return [np.asarray(indices, dtype=np.intp) for indices in members.values()]


def wilson_interval(successes: int, trials: int, confidence_level: float = 0.95) -> tuple[float, float]:
    """Compute Wilson's interval of a share, which has a width at 0 and 1, too.

    Args:
        successes: How many trials succeeded.
        trials: Number of independent trials, at least 1.
        confidence_level: Share of such intervals that cover the true share.

    Raises:
        ValueError: If the numbers are not 0 <= successes <= trials with trials >= 1.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927; by SciPy.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"successes must be from 0 to trials, at least 1, but are {successes} of {trials}")
    test = import_optional("scipy.stats").binomtest(successes, trials)
    interval = test.proportion_ci(confidence_level=confidence_level, method="wilson")
    return float(interval.low), float(interval.high)
