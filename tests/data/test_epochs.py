# SPDX-License-Identifier: Apache-2.0
"""Mixes of data sets by weight: how often each item is drawn follows from its weight, and which ones from the seed."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.data.augmentation import Augmentation, AugmentedDataset
from geodit.data.epochs import WeightedMix


class Items(list):
    """Items that are their own names, with a length each."""

    @property
    def lengths(self):
        return [ord(name[0]) * 100 + int(name[1:]) for name in self]


def items(letter, number):
    return Items(f"{letter}{index}" for index in range(number))


def epoch_of(mix, epoch):
    return [mix[epoch * len(mix) + number] for number in range(len(mix))]


def test_with_weight_2_an_epoch_has_each_item_twice():
    mix = WeightedMix([items("a", 5), items("b", 3)], [2.0, 1.0], seed=0)
    for epoch in (0, 1, 7):
        counts = Counter(epoch_of(mix, epoch))
        assert counts == {**{f"a{index}": 2 for index in range(5)}, **{f"b{index}": 1 for index in range(3)}}


def test_with_weight_one_half_the_next_epoch_has_the_other_half():
    mix = WeightedMix([items("a", 6), items("b", 3)], [0.5, 1.0], seed=0)
    halves = [{name for name in epoch_of(mix, epoch) if name[0] == "a"} for epoch in range(6)]
    assert all(len(half) == 3 for half in halves)
    for first, second in zip(halves[::2], halves[1::2], strict=True):
        assert first | second == set(items("a", 6))
    assert len({frozenset(half) for half in halves[::2]}) > 1


@given(st.integers(1, 30), st.floats(0.05, 4.0), st.integers(0, 5), st.integers(0, 2))
def test_over_epochs_no_item_is_drawn_twice_as_often_as_another(size, weight, seed, epochs):
    mix = WeightedMix([items("a", size)], [weight], seed)
    assert len(mix) == max(1, round(size * weight))
    counts = Counter(dict.fromkeys(items("a", size), 0))
    for epoch in range(epochs + 1):
        counts.update(epoch_of(mix, epoch))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_what_is_drawn_follows_from_seed_and_epoch_whatever_was_asked_before():
    def mix(seed):
        return WeightedMix([items("a", 9), items("b", 4)], [0.7, 1.5], seed)

    asked = mix(1)
    forward = [epoch_of(asked, epoch) for epoch in range(4)]
    backward = [epoch_of(mix(1), epoch) for epoch in (3, 2, 1, 0)]
    assert forward == backward[::-1]
    assert forward[0] != epoch_of(mix(2), 0)
    assert list(asked) == forward[0]


def test_lengths_are_those_of_the_items_of_an_epoch():
    mix = WeightedMix([items("a", 9), items("b", 4)], [0.5, 2.0], seed=3)
    for epoch in (0, 1):
        assert mix.lengths_at(epoch) == Items(epoch_of(mix, epoch)).lengths
    assert mix.lengths == mix.lengths_at(0) != mix.lengths_at(1)
    augmented = AugmentedDataset(mix, Augmentation(), seed=0)
    assert augmented.lengths_at(1) == mix.lengths_at(1)
    assert not hasattr(WeightedMix([["a"]], [2.0], seed=0), "lengths")


@pytest.mark.parametrize(
    ("parts", "weights", "message"),
    [
        ([["a"]], [], "give one for each"),
        ([["a"]], [0.0], "a weight must be a number above 0, got 0"),
        ([["a"]], [float("nan")], "a weight must be a number above 0, got nan"),
        ([["a"], []], [1.0, 1.0], "is empty"),
    ],
)
def test_what_cannot_be_mixed_is_refused(parts, weights, message):
    with pytest.raises(ValueError, match=message):
        WeightedMix(parts, weights, 0)
