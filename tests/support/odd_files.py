# SPDX-License-Identifier: Apache-2.0
"""Files that are no files, and a deadline for what may wait for one of them forever."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KINDS = {"pipe": "a named pipe", "socket": "a socket", "device": "a device", "directory": "a directory"}
"""What `make_odd_file` makes, with the words of an error for it."""


def make_odd_file(path: Path, kind: str) -> Path:
    """Put something that is no regular file in the place of `path`."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)  # the address of a socket is shorter than many a path
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    return path


@contextlib.contextmanager
def ends(*pipes: Path, seconds: float = 30) -> Iterator[None]:
    """Fail instead of waiting forever, as one does who opens a pipe that nobody writes to."""

    def stop(number: int, frame: Any) -> None:
        for pipe in pipes:  # threads that wait for it go on, too
            os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
        raise AssertionError(f"it did not end within {seconds} s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
