# SPDX-License-Identifier: Apache-2.0
"""What a job says when it is stopped: how to go on."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from geodit.cli.errors import CommandError

# As a shell reports a program that was ended by a signal.
_ENDED_BY_SIGNAL = 128


class Terminated(KeyboardInterrupt):
    """SIGTERM, treated as Ctrl-C is."""


@contextlib.contextmanager
def reported_interruptions(out: Path | None) -> Iterator[None]:
    """Report Ctrl-C and SIGTERM in one line.

    Args:
        out: The file of the result, next to which answers are kept.

    Raises:
        CommandError: If there was one of them meanwhile.
    """
    try:
        with _sigterm_as_exception():
            yield
    except KeyboardInterrupt as error:
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        raise CommandError(f"interrupted: {_what_is_kept(out)}", _ENDED_BY_SIGNAL + number) from error


def _what_is_kept(out: Path | None) -> str:
    if out is None:
        return "no answer is kept; with --out they are, and --resume goes on from them"
    from geodit.pipelines.scenes.journal import find_journals

    found = find_journals(out)
    if not found:
        return "there are no answers to go on from"
    return f"the answers so far are in {found[0]}; go on from them with the same command and --resume"


@contextlib.contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may say what a signal does.
        return
    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
