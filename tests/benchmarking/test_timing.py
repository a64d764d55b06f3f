# SPDX-License-Identifier: Apache-2.0
"""Who runs when, and what is made of the times. No test asserts how long anything takes."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.benchmarking.contestants import Contestant
from geodit.benchmarking.timing import Ratio, Run, TimeSpread, measure, round_robin, time_run


class Recorder(Contestant):
    """Writes down that it ran."""

    def __init__(self, key, log):
        super().__init__(key, key, "geodit", "")
        self.log = log

    def run(self, mark):
        mark(0)
        self.log.append(self.key)
        self.collecting = gc.isenabled()
        mark(1)


@given(st.integers(1, 6), st.integers(0, 6))
def test_every_round_has_every_contestant_once(num_contestants, num_rounds):
    rounds = round_robin(num_contestants, num_rounds)
    assert len(rounds) == num_rounds
    assert all(sorted(order) == list(range(num_contestants)) for order in rounds)


def test_contestants_take_turns_and_every_second_round_is_reversed(cpu):
    log, ticks = [], []
    contestants = [Recorder(key, log) for key in "abc"]
    runs = measure(contestants, 3, cpu, lambda: ticks.append(len(log)))
    assert "".join(log) == "abccbaabc"
    assert ticks == list(range(1, 10))
    assert [len(of_contestant) for of_contestant in runs] == [3, 3, 3]
    # Garbage is collected between rounds alone.
    assert not any(contestant.collecting for contestant in contestants)
    assert gc.isenabled()


def test_marks_split_a_run(cpu):
    run = time_run(Recorder("a", []), cpu)
    assert list(run.marks) == [0, 1]
    assert 0 <= run.marks[0] <= run.marks[1] <= run.seconds
    assert run.prefix_seconds + run.decoding_seconds == pytest.approx(run.seconds)


def test_a_run_without_marks_has_a_total_only():
    run = Run(2.0, {})
    assert run.prefix_seconds is None
    assert run.decoding_seconds is None


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ([3.0], TimeSpread(3, 3, 3, 3, 3)),
        ([5.0, 1.0, 4.0, 2.0, 3.0], TimeSpread(median=3, minimum=1, maximum=5, lower_quartile=2, upper_quartile=4)),
    ],
)
def test_a_spread_is_that_of_all_runs(seconds, expected):
    assert TimeSpread.of(seconds) == expected


def test_a_ratio_is_that_of_medians_and_spans_the_rounds():
    assert Ratio.of([2.0, 4.0, 30.0], [1.0, 4.0, 5.0]) == Ratio(of_medians=1.0, lowest=1.0, highest=6.0)


def test_ratios_need_as_many_rounds_of_both():
    with pytest.raises(ValueError, match="shorter"):
        Ratio.of([1.0, 2.0], [1.0])


def test_a_failing_contestant_leaves_garbage_collection_on(cpu):
    class Failing(Recorder):
        def run(self, mark):
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        measure([Failing("a", [])], 1, cpu)
    assert gc.isenabled()
