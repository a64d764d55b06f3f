# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from scipy import stats

from geodit.evaluation.bootstrap import bootstrap_intervals

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
