# SPDX-License-Identifier: Apache-2.0
"""A lock that one process holds on a file, and that the system releases however the process ends."""

from __future__ import annotations

import errno
import os
import re
import socket
from pathlib import Path
from types import TracebackType

from transformers.utils import logging

try:
    import fcntl
except ImportError:  # a system without POSIX locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileLock"]

logger = logging.get_logger(__name__)

_TRIES = 100
_HOLDER = re.compile(rb"(\d{1,20}) ([^\s]{1,255})\n")
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN)


class FileLock:
    """A file that at most one process holds, told from a file that is there by a lock of the system on it.

    The lock is gone when its process is, be it by SIGKILL; child processes do not inherit it. Another lock of the same
    process on the same file is not refused, and takes the first one with it when it is released. The file holds the
    number of the process and the name of the host, and is removed on release.

    Where the file system has no locks, a warning says so and nothing is held.

    Args:
        path: The file; folders above it are made.
        writes_to: What is written to under the lock, for messages.
        who: What holds such a lock, for messages.

    Attributes:
        held: Whether this process has the lock.
    """

    def __init__(self, path: Path, writes_to: Path, who: str = "process") -> None:
        self.path = path
        self.writes_to = writes_to
        self.who = who
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return self._descriptor is not None

    def __enter__(self) -> FileLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock at once or not at all.

        Raises:
            BlockingIOError: If another process has it; the message names the process.
            OSError: If the file cannot be made.
        """
        for _ in range(_TRIES):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
            except FileNotFoundError:  # its last holder has removed the folder just now
                continue
            try:
                if not self._lock(descriptor):
                    self.path.unlink(missing_ok=True)
                    os.close(descriptor)
                    return
                if _is_at(descriptor, self.path):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
                    self._descriptor = descriptor
                    return
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # of a file that its last holder has removed just now
        raise OSError(f"{self.path} could not be locked: it is removed again and again.")

    def release(self) -> None:
        """Give the lock back and remove the file, if the lock is held."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            if _is_at(descriptor, self.path):
                self.path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int) -> bool:
        """Try to take the lock; return whether there are locks here, of which this process then has one."""
        reason = "this system has none"
        if fcntl is not None:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in _HELD_BY_ANOTHER:
                    raise BlockingIOError(
                        f"another {self.who} writes to {self.writes_to}{_holder(descriptor)}"
                    ) from error
                reason = str(error.strerror or error)
            else:
                return True
        logger.warning(
            f"{self.path} cannot be locked ({reason}): make sure that nothing else writes to {self.writes_to}."
        )
        return False


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _holder(descriptor: int) -> str:
    match = _HOLDER.fullmatch(os.pread(descriptor, 512, 0))
    return "" if match is None else f" (process {int(match[1])} on {match[2].decode(errors='replace')})"
