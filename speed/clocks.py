# SPDX-License-Identifier: Apache-2.0
"""Clocks of the processor and of devices that work on while Python goes ahead."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

__all__ = ["Clock", "EventClock", "WallClock", "clock_of"]


class Clock(ABC):
    """Tells the time between two moments."""

    free: bool
    """Whether a contestant can tell how far it is without taking longer."""

    def start(self) -> Any:
        """Return the moment at which all work begun before is done."""
        return self.now()

    @abstractmethod
    def now(self) -> Any:
        """Return the moment at which all work begun up to now is done."""

    @abstractmethod
    def seconds(self, start: Any, end: Any) -> float:
        """Return the seconds from one moment to another."""


class WallClock(Clock):
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


class EventClock(Clock):
    """Events that the device notes the time of when it comes to them, so that nothing waits for the clock.

    Args:
        record: Makes an event behind all that was begun, such as a [`torch.cuda.Event`], which knows its time.
        synchronize: Waits until the device is done.
    """

    free = False

    def __init__(self, record: Callable[[], Any], synchronize: Callable[[], None]) -> None:
        self._record = record
        self._synchronize = synchronize

    def start(self) -> Any:
        """See [`Clock.start`]."""
        self._synchronize()
        return self.now()

    def now(self) -> Any:
        """See [`Clock.now`]."""
        return self._record()

    def seconds(self, start: Any, end: Any) -> float:
        """See [`Clock.seconds`]. Waits for the end."""
        end.synchronize()
        return float(start.elapsed_time(end)) / 1000  # given in milliseconds


def clock_of(device: torch.device) -> Clock:
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
