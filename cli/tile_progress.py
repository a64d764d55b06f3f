# SPDX-License-Identifier: Apache-2.0
"""How far a job is: a bar on a terminal, lines in a log."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

import typer

from geodit.cli.output import tiles_progress_bar

# A log gets a line at most so often, and none of a job that is done before.
_SECONDS_BETWEEN_LINES = 30.0


class TileProgress:
    """Tells how many tiles are done, how many a second, and how long the others will take.

    It is a context manager, and is called with the number of tiles done and of all tiles.

    Args:
        stream: Where to; by default stderr.
        clock: Seconds from any moment on.
    """

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._bar = tiles_progress_bar(self._stream) if self._stream.isatty() else None
        self._first: tuple[float, int] | None = None
        self._last_line = clock()

    def __call__(self, done: int, total: int) -> None:
        """Tell that so many tiles are done."""
        now = self._clock()
        # What an earlier run has done says nothing of the speed of this one.
        begun, done_before = self._first or (now, done)
        self._first = (begun, done_before)
        seconds = now - begun
        speed = (done - done_before) / seconds if seconds > 0 else 0.0
        if self._bar is not None:
            (bar, *_) = self._bar.task_ids or [self._bar.add_task("tiles", total=total, speed="")]
            self._bar.update(bar, completed=done, total=total, speed=f"{speed:.1f}/s" if speed else "")
        elif now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            typer.echo(f"geodit: {describe(done, total, speed)}", file=self._stream)

    def __enter__(self) -> "TileProgress":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def describe(done: int, total: int, speed: float) -> str:
    """Return how far a job is as a line of text.

    Args:
        done: Tiles that are done.
        total: All tiles.
        speed: Tiles a second; 0 if it is not known yet.
    """
    told = f"{done:,} of {total:,} tiles"
    if speed <= 0:
        return told
    return f"{told}, {speed:.1f} tiles/s, {_duration((total - done) / speed)} left"


def _duration(seconds: float) -> str:
    minutes, hours = round(seconds / 60), seconds / 3600
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{hours:.1f} h"
