# SPDX-License-Identifier: Apache-2.0
"""Clocks of the processor and of devices that work on while Python goes ahead."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, Self, TypeVar

import torch

__all__ = ["Clock", "EventClock", "Moment", "WallClock", "clock_of"]


class Event(Protocol):
    """What a device notes the time of, such as a [`torch.cuda.Event`]."""

    def synchronize(self) -> None:
        """Wait until the device has come to it."""

    def elapsed_time(self, end_event: Self, /) -> float:
        """Return the milliseconds from this event to a later one."""


Moment = TypeVar("Moment")
NotedEvent = TypeVar("NotedEvent", bound=Event)


class Clock(ABC, Generic[Moment]):
    """Tells the time between two moments."""

    free: bool
    """Whether a contestant can tell how far it is without taking longer."""

    def start(self) -> Moment:
        """Return the moment at which all work begun before is done."""
        return self.now()

    @abstractmethod
    def now(self) -> Moment:
        """Return the moment at which all work begun up to now is done."""

    @abstractmethod
    def seconds(self, start: Moment, end: Moment) -> float:
        """Return the seconds from one moment to another."""


class WallClock(Clock[float]):
    """That of the processor.

    Args:
        synchronize: Waits until all that was begun is done; `None` where that is so when a call returns.
    """

    free = True

    def __init__(self, synchronize: Callable[[], None] | None = None) -> None:
        self._synchronize = synchronize

    def now(self) -> float:
        """See [`Clock.now`]."""
        if self._synchronize is not None:
            self._synchronize()
        return time.perf_counter()

    def seconds(self, start: float, end: float) -> float:
        """See [`Clock.seconds`]."""
        return end - start


class EventClock(Clock[NotedEvent]):
    """Events that the device notes the time of when it comes to them, so that nothing waits for the clock.

    Args:
        record: Makes an event after all that was begun, such as a [`torch.cuda.Event`], which knows its time.
        synchronize: Waits until the device is done.
    """

    free = False

    def __init__(self, record: Callable[[], NotedEvent], synchronize: Callable[[], None]) -> None:
        self._record = record
        self._synchronize = synchronize

    def start(self) -> NotedEvent:
        """See [`Clock.start`]."""
        self._synchronize()
        return self.now()

    def now(self) -> NotedEvent:
        """See [`Clock.now`]."""
        return self._record()

    def seconds(self, start: NotedEvent, end: NotedEvent) -> float:
        """See [`Clock.seconds`]. Waits for the end."""
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000  # given in milliseconds


def clock_of(device: torch.device) -> Clock[Any]:
    """Return the clock for what runs on a device."""
    if device.type == "cpu":
        return WallClock()
    if device.type == "cuda":
        return EventClock(partial(_record_cuda_event, device), partial(torch.cuda.synchronize, device))
    return WallClock(partial(torch.accelerator.synchronize, device))


def _record_cuda_event(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event
