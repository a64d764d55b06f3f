# SPDX-License-Identifier: Apache-2.0
"""A lock is held by one process, and goes when the process does."""

import contextlib
import errno
import fcntl
import os
import signal

import pytest
from transformers.utils import logging

from geodit.configuration.file_lock import FileLock


@contextlib.contextmanager
def another_process(action):
    """A child that does something, says so, and waits; yields its number."""
    done, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            action()
            os.write(told, b"x")
            signal.pause()
        finally:
            os._exit(1)
    try:
        assert os.read(done, 1) == b"x"
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(done)
        os.close(told)


def test_a_second_process_is_told_who_holds_it_until_that_one_is_killed(tmp_path):
    path = tmp_path / "private" / "lock"
    with another_process(FileLock(path, tmp_path).acquire) as holder:
        before = path.read_bytes()
        with pytest.raises(
            BlockingIOError, match=rf"another run writes to {tmp_path} \(process {holder} on {os.uname().nodename}\)"
        ):
            FileLock(path, tmp_path, "run").acquire()
        assert path.read_bytes() == before
    with FileLock(path, tmp_path) as lock:
        assert lock.held
    assert not path.exists()


def test_a_child_of_the_holder_does_not_keep_it(tmp_path):
    path = tmp_path / "lock"
    lock = FileLock(path, tmp_path)
    lock.acquire()
    with another_process(lambda: None):
        lock.release()
        with another_process(FileLock(path, tmp_path).acquire):
            pass


def test_a_file_that_its_holder_removes_is_not_locked(tmp_path, monkeypatch):
    path = tmp_path / "lock"
    lockf = fcntl.lockf

    def removed_meanwhile(descriptor, command):
        monkeypatch.setattr(fcntl, "lockf", lockf)
        path.unlink()
        lockf(descriptor, command)

    monkeypatch.setattr(fcntl, "lockf", removed_meanwhile)
    with FileLock(path, tmp_path) as lock:
        assert lock.held
        assert path.read_text().split()[0] == str(os.getpid())


def test_where_there_are_no_locks_a_warning_says_so(tmp_path, monkeypatch):
    def no_locks(descriptor, command):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    said = []
    monkeypatch.setattr(fcntl, "lockf", no_locks)
    monkeypatch.setattr(logging.get_logger("geodit.configuration.file_lock"), "warning", said.append)
    with FileLock(tmp_path / "lock", tmp_path) as lock:
        assert not lock.held
    assert not list(tmp_path.iterdir())
    (message,) = said
    assert "cannot be locked (No locks available)" in message


def test_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="Too many levels"):
        FileLock(tmp_path / "lock", tmp_path).acquire()
    assert not (tmp_path / "elsewhere").exists()
