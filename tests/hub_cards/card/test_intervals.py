# SPDX-License-Identifier: Apache-2.0
"""Intervals of a mean, against those of SciPy."""

import math

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from geodit.hub_cards.card.intervals import mean_interval, t_quantile


@pytest.mark.parametrize("degrees", [*range(1, 31), 100, 1000])
def test_points_of_students_t(degrees):
    assert t_quantile(degrees) == pytest.approx(scipy.stats.t.ppf(0.975, degrees), rel=1e-4)


def test_no_degrees_of_freedom_are_refused():
    with pytest.raises(ValueError, match="at least 1 degree of freedom, not 0"):
        t_quantile(0)


@given(st.lists(st.integers(0, 1000).map(lambda number: number / 1000), min_size=2, max_size=20))
def test_the_interval_of_a_mean(values):
    interval = mean_interval(values)
    if len(set(values)) == 1:
        assert interval is None
        return
    error = scipy.stats.sem(values)
    expected = scipy.stats.t.interval(0.95, len(values) - 1, loc=math.fsum(values) / len(values), scale=error)
    # The quantile has four digits: the error is relative to the width, not to the ends.
    assert interval == pytest.approx(expected, rel=0, abs=1e-4 * (expected[1] - expected[0]))


def test_one_measurement_has_no_interval():
    assert mean_interval([0.5]) is None
