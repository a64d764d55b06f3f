# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from geodit.evaluation.bootstrap import bootstrap_intervals, wilson_interval

VALUES = np.random.default_rng(0).gamma(2.0, size=60)


def mean(indices):
    return {"mean": float(VALUES[indices].mean())}


def test_intervals_agree_with_scipy():
    low, high = bootstrap_intervals(mean, range(60), resamples=4000)["mean"]
    expected = stats.bootstrap(
        (VALUES,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.05 * width)
    assert high == pytest.approx(expected.high, abs=0.05 * width)


def test_the_seed_decides():
    first, again, other = (bootstrap_intervals(mean, range(60), resamples=50, seed=s) for s in (1, 1, 2))
    assert first == again != other


def test_groups_are_drawn_whole():
    def check(indices):
        counts = np.bincount(indices, minlength=4)
        assert counts[0] == counts[3]
        assert counts[1] == counts[2]
        return {"size": float(len(indices))}

    assert bootstrap_intervals(check, ["a", "b", "b", "a"], resamples=20)["size"] == (4, 4)


def test_resamples_that_leave_a_figure_undefined_do_not_count():
    def only_with_first(indices):
        return {"sometimes": 1.0 if 0 in indices else None, "never": None}

    intervals = bootstrap_intervals(only_with_first, range(3), resamples=50)
    assert intervals == {"sometimes": (1, 1), "never": None}


@pytest.mark.parametrize(
    ("groups", "options", "message"),
    [
        ([], {}, "no samples"),
        ([1], {"resamples": 0}, "resamples must be at least 1"),
        ([1], {"confidence_level": 95}, "between 0 and 1"),
    ],
)
def test_bad_arguments_are_refused(groups, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_intervals(lambda indices: {}, groups, **options)


@given(st.integers(1, 50), st.data())
def test_wilson_interval_by_its_formula(trials, data):
    successes = data.draw(st.integers(0, trials))
    z, share = 1.959963984540054, successes / trials
    center = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    assert wilson_interval(successes, trials) == pytest.approx((center - half, center + half), abs=1e-9)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (2, 1), (-1, 3)])
def test_wilson_interval_needs_trials(successes, trials):
    with pytest.raises(ValueError, match="successes must be from 0 to trials"):
        wilson_interval(successes, trials)
