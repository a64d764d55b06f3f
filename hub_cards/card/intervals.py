# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals of figures that were measured a few times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

__all__ = ["mean_interval", "t_quantile"]

# Two-sided 95% points of Student's t distribution for 1, 2, ... degrees of freedom.
_T = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.30600, 2.26216, 2.22814)


def t_quantile(degrees: int) -> float:
    """Return the point that Student's t exceeds with a probability of 2.5%, to four digits.

    A table for up to ten degrees of freedom; beyond, the expansion around the normal distribution (Abramowitz and
    Stegun, Handbook of Mathematical Functions, 26.7.5).

    Raises:
        ValueError: If `degrees` is less than 1.
    """
    if degrees < 1:
        raise ValueError(f"a t distribution has at least 1 degree of freedom, not {degrees}")
    if degrees <= len(_T):
        return _T[degrees - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the 95% confidence interval of the mean of independent measurements, by Student's t.

    `None` for fewer than two measurements, and where all are equal: their spread then tells nothing.
    """
    if len(set(values)) < 2:
        return None
    mean = statistics.fmean(values)
    half = t_quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - half, mean + half
