# SPDX-License-Identifier: Apache-2.0
"""Items are made in a thread, in order, not far ahead, and errors come in their place."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodit.processing.prefetching import prefetch


@given(st.lists(st.integers(), max_size=20), st.integers(1, 5))
def test_the_items_are_those_given_in_their_order(items, depth):
    assert list(prefetch(items, depth)) == items


def test_items_are_made_in_a_thread():
    def threads():
        for _ in range(3):
            yield threading.current_thread()

    assert threading.main_thread() not in set(prefetch(threads()))


def test_no_more_than_the_depth_is_made_ahead():
    made = []

    def items():
        for number in range(10):
            made.append(number)
            yield number

    coming = prefetch(items(), depth=2)
    for number in coming:
        assert len(made) <= number + 4  # this one, two ahead and the one that is just begun
    assert made == list(range(10))


def test_an_error_comes_where_the_item_would():
    def items():
        yield 1
        raise OSError("no such tile")

    coming = prefetch(items())
    assert next(coming) == 1
    with pytest.raises(OSError, match="no such tile"):
        next(coming)


def test_closing_waits_for_the_item_that_is_being_made():
    begun, go_on, events = threading.Event(), threading.Event(), []

    def items():
        yield 0
        begun.set()
        go_on.wait(10)
        events.append("made")
        yield 1

    coming = prefetch(items(), depth=1)
    next(coming)
    begun.wait(10)
    threading.Timer(0.05, go_on.set).start()
    coming.close()
    assert events == ["made"]


def test_a_depth_of_nothing_is_refused():
    with pytest.raises(ValueError, match="depth must be at least 1"):
        next(prefetch([], depth=0))
