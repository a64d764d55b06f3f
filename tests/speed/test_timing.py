# SPDX-License-Identifier: Apache-2.0
"""Who runs when, and what is made of the times. No test asserts how long anything takes."""

import gc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geodit.speed.clocks import EventClock, WallClock, clock_of
from geodit.speed.contestants import Contestant
from geodit.speed.timing import Ratio, Run, TimeSpread, measure, round_robin, time_run


class Recorder(Contestant):
    """Writes down that it ran."""

    def __init__(self, key, log):
        super().__init__(key, key, "geodit", "")
        self.log = log

    def run(self, mark):
        assert mark is not None
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


def test_marks_split_a_run():
    run = time_run(Recorder("a", []), WallClock())
    assert list(run.marks) == [0, 1]
    assert 0 <= run.marks[0] <= run.marks[1] <= run.seconds
    assert run.prefix_seconds + run.decoding_seconds == pytest.approx(run.seconds)


class Device:
    """Does some work at each call, of which each takes it a second, and is asked for events in between."""

    def __init__(self):
        self.done = 0.0
        self.waits = []

    def record(self):
        return Event(self)

    def synchronize(self):
        self.waits.append("all")


class Event:
    """As torch.Event: milliseconds, known once it is waited for."""

    def __init__(self, device):
        self.device = device
        self.at = device.done

    def synchronize(self):
        self.device.waits.append("event")

    def elapsed_time(self, end):
        return 1000 * (end.at - self.at)


class Steps(Contestant):
    """A prefix of a second and three steps, which take another one each if somebody watches."""

    def __init__(self, device):
        super().__init__("steps", "steps", "geodit", "")
        self.device = device

    def run(self, mark):
        for step in range(4):
            self.device.done += 1
            if mark is not None:
                mark(step)
                self.device.done += 1


def test_on_a_device_the_time_is_that_of_a_run_that_nobody_watches():
    device = Device()
    run = time_run(Steps(device), EventClock(device.record, device.synchronize))
    assert run == Run(4.0, {0: 1.0, 1: 3.0, 2: 5.0, 3: 7.0})
    assert run.decoding_seconds == 3.0


def test_who_tells_nothing_is_run_once():
    device = Device()
    contestant = Steps(device)
    contestant.tells = False
    assert time_run(contestant, EventClock(device.record, device.synchronize)) == Run(4.0, {})
    assert device.done == 4.0


def test_marks_do_not_wait_for_the_device():
    device = Device()
    clock = EventClock(device.record, device.synchronize)
    start = clock.start()
    assert device.waits == ["all"]
    moments = [clock.now() for _ in range(3)]
    assert device.waits == ["all"]
    assert [clock.seconds(start, moment) for moment in moments] == [0, 0, 0]
    assert device.waits == ["all", *["event"] * 3]


def test_the_clock_of_a_processor_waits_where_it_is_told_to():
    waits = []
    clock = WallClock(lambda: waits.append("all"))
    assert clock.seconds(clock.start(), clock.now()) >= 0
    assert len(waits) == 2
    assert isinstance(clock_of(torch.device("cpu")), WallClock)
    assert isinstance(clock_of(torch.device("cuda")), EventClock)
    assert isinstance(clock_of(torch.device("mps")), WallClock)


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
