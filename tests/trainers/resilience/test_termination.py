# SPDX-License-Identifier: Apache-2.0
"""A terminal that is closed ends a run as a scheduler does, unless the run was told not to care."""

import os
import pty
import signal

import pytest

from geodit.trainers.resilience.termination import TerminationCallback


@pytest.fixture
def hangup():
    """The disposition of SIGHUP, restored afterwards."""
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


def test_under_nohup_the_signal_stays_ignored(hangup):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with TerminationCallback() as callback:
        os.kill(os.getpid(), signal.SIGHUP)
        assert not callback.requested
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_handlers_are_given_back_and_the_signal_decides_the_exit_code(hangup):
    handlers = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)]
    with TerminationCallback() as callback:
        assert (callback.signal_name, callback.exit_code) == ("SIGTERM", 143)
        os.kill(os.getpid(), signal.SIGHUP)
        assert callback.requested
        assert (callback.signal_name, callback.exit_code) == ("SIGHUP", 129)
    assert [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)] == handlers


def test_what_is_printed_when_the_terminal_is_gone_does_not_end_the_run():
    child, terminal = pty.fork()
    if child == 0:
        code = 1
        try:
            with TerminationCallback() as callback:
                os.write(1, b"ready\n")
                while not callback.requested:
                    signal.pause()
                os.write(1, b"the progress of a run\n")
                os.write(2, b"and a warning\n")
            code = callback.exit_code
        except OSError:
            code = 5
        finally:
            os._exit(code)
    assert os.read(terminal, 100).startswith(b"ready")
    os.close(terminal)  # the system sends SIGHUP
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129
