# SPDX-License-Identifier: Apache-2.0
"""Measurements in a limited time: what was measured is kept, whatever comes behind it."""

import copy

import pytest
import torch

from geodit.speed.parts import Part, run_parts


class Clock:
    """Goes on when a part runs."""

    def __init__(self):
        self.time = 100.0

    def part(self, name, expected, taken=None, **options):
        def run():
            self.time += expected if taken is None else taken
            return {"name": name}

        return Part(name, expected, run, **options)

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def saved():
    return []


def run(parts, limit, saved, clock):
    return run_parts(parts, limit, lambda document: saved.append(copy.deepcopy(document)), torch.device("cpu"), clock)


def test_parts_run_in_order_and_each_is_kept_as_soon_as_it_is_there(clock, saved):
    document = run([clock.part("a", 1), clock.part("b", 2)], 10, saved, clock)
    assert [list(kept["parts"]) for kept in saved] == [[], ["a"], ["a", "b"]]
    assert document == saved[-1]
    assert document["parts"]["b"] == {"seconds": 2, "peak_bytes": None, "result": {"name": "b"}}
    assert document["seconds"] == 3


def test_a_part_that_would_not_end_in_time_is_skipped_and_a_shorter_one_is_not(clock, saved):
    document = run([clock.part("a", 6, taken=7), clock.part("b", 4), clock.part("c", 3)], 10, saved, clock)
    assert list(document["parts"]) == ["a", "c"]
    assert document["skipped"] == {"b": "takes about 4 s, and 3 s are left"}
    assert document["seconds"] == 10


def test_without_time_nothing_runs_and_the_document_is_there(clock, saved):
    document = run([clock.part("a", 1)], 0, saved, clock)
    assert document == saved[-1]
    assert document["parts"] == {}
    assert list(document["skipped"]) == ["a"]


def test_what_is_not_to_be_measured_is_told_with_its_reason(clock, saved):
    document = run([clock.part("a", 1, reason_to_skip="there is no GPU"), clock.part("b", 1)], 10, saved, clock)
    assert document["skipped"] == {"a": "there is no GPU"}
    assert list(document["parts"]) == ["b"]


def test_a_part_that_fails_keeps_no_other_from_running(clock, saved, capsys):
    def fail():
        raise RuntimeError("CUDA out of memory\nand more")

    document = run([Part("a", 1, fail), clock.part("b", 1)], 10, saved, clock)
    assert document["failed"] == {"a": "RuntimeError: CUDA out of memory"}
    assert list(document["parts"]) == ["b"]
    assert "and more" in capsys.readouterr().err


def test_who_breaks_a_run_off_has_what_was_measured(clock, saved):
    def broken_off():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([clock.part("a", 1), Part("b", 1, broken_off)], 10, saved, clock)
    assert list(saved[-1]["parts"]) == ["a"]
