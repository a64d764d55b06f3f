# SPDX-License-Identifier: Apache-2.0
"""Timing of several contestants in turn, so that whatever slows the machine down for a while slows all of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING, Generic

import torch

from geodit.speed.clocks import Clock, Moment, clock_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from geodit.speed.contestants import Contestant

__all__ = ["Ratio", "Run", "TimeSpread", "measure", "round_robin", "time_run"]


@dataclass(frozen=True)
class Run:
    """One run of a contestant.

    Args:
        seconds: Its wall-clock time.
        marks: Seconds from the start at which it said that a step was done, by step; 0 is the prefix. A contestant
            that says nothing has none. On a GPU they are of another run, whose steps take longer because it tells.
    """

    seconds: float
    marks: dict[int, float]

    @property
    def prefix_seconds(self) -> float | None:
        """Time of everything before the first step."""
        return self.marks.get(0)

    @property
    def decoding_seconds(self) -> float | None:
        """Time of everything after that."""
        return None if 0 not in self.marks else self.seconds - self.marks[0]


@dataclass(frozen=True)
class TimeSpread:
    """The times of several runs.

    Args:
        median: Their median, in seconds as all others.
        minimum: The shortest.
        maximum: The longest.
        lower_quartile: A quarter of the runs are shorter.
        upper_quartile: A quarter of the runs are longer.
    """

    median: float
    minimum: float
    maximum: float
    lower_quartile: float
    upper_quartile: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> TimeSpread:
        """Summarize at least one time."""
        lower, middle, upper = quantiles(seconds, n=4, method="inclusive") if len(seconds) > 1 else [seconds[0]] * 3
        return cls(middle, min(seconds), max(seconds), lower, upper)


@dataclass(frozen=True)
class Ratio:
    """How two contestants compare.

    Args:
        of_medians: Ratio of the medians.
        lowest: The lowest ratio of two runs of the same round.
        highest: The highest one.
    """

    of_medians: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, seconds: Sequence[float], base: Sequence[float]) -> Ratio:
        """Compare the times of as many rounds of both."""
        in_rounds = [time / other for time, other in zip(seconds, base, strict=True)]
        return cls(median(seconds) / median(base), min(in_rounds), max(in_rounds))


def round_robin(num_contestants: int, num_rounds: int) -> list[list[int]]:
    """Order the runs of all contestants.

    Each round runs every contestant once, every second one in reverse order, so that no contestant always follows the
    same one, and a steady drift of the machine's speed falls on all of them alike.

    Args:
        num_contestants: How many there are.
        num_rounds: Repetitions of each.

    Returns:
        The rounds, each a permutation of `range(num_contestants)`.
    """
    order = list(range(num_contestants))
    return [order[:: 1 if number % 2 == 0 else -1] for number in range(num_rounds)]


def measure(
    contestants: Sequence[Contestant],
    repeats: int,
    device: torch.device,
    progress: Callable[[], None] | None = None,
    clock: Clock[Moment] | None = None,
) -> list[list[Run]]:
    """Time contestants in turn.

    Args:
        contestants: Who is timed. They should have run before.
        repeats: How often each.
        device: Where they run.
        progress: Called after each run.
        clock: Another one than that of the device.

    Returns:
        For each contestant its runs, in the order of the rounds.
    """
    runs: list[list[Run]] = [[] for _ in contestants]
    clock = clock_of(device) if clock is None else clock
    for order in round_robin(len(contestants), repeats):
        with _no_garbage_collection():
            for index in order:
                runs[index].append(time_run(contestants[index], clock))
                if progress is not None:
                    progress()
    return runs


def time_run(contestant: Contestant, clock: Clock[Moment]) -> Run:
    """Time one run.

    Telling how far it is makes a contestant wait for a GPU in every step. Where there is one the time is therefore
    that of a run that nobody watches, and the marks are those of another one after it.
    """
    watches = _Marks(clock)
    if clock.free:
        contestant.run(watches.mark)
        return Run(watches.stop(), watches.seconds())
    contestant.run(None)
    seconds = watches.stop()
    if not contestant.tells:
        return Run(seconds, {})
    watches = _Marks(clock)
    contestant.run(watches.mark)
    watches.stop()
    return Run(seconds, watches.seconds())


class _Marks(Generic[Moment]):
    """The marks of a run that starts when this is made."""

    def __init__(self, clock: Clock[Moment]) -> None:
        self._clock = clock
        self._marks: dict[int, Moment] = {}
        self._start = clock.start()

    def mark(self, step: int) -> None:
        """Note that a step is done, or will be when the device has come so far."""
        self._marks[step] = self._clock.now()

    def stop(self) -> float:
        """Return the seconds from the start, after all is done."""
        return self._clock.seconds(self._start, self._clock.now())

    def seconds(self) -> dict[int, float]:
        """Return the seconds from the start to each mark."""
        return {step: self._clock.seconds(self._start, at) for step, at in self._marks.items()}


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect before a round and not during it, where it would strike any contestant."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
