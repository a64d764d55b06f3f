# SPDX-License-Identifier: Apache-2.0
"""How far a job is: lines in a log, a bar on a terminal."""

import io

import pytest

from geodit.cli.tile_progress import TileProgress, describe


class Clock:
    """Stands still until it is set."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


class Terminal(io.StringIO):
    def isatty(self):
        return True


def told(*moments, stream=None):
    """What is written if so many tiles of all are done after some seconds."""
    stream, clock = stream or io.StringIO(), Clock()
    with TileProgress(stream, clock) as progress:
        for seconds, done, total in moments:
            clock.seconds = 1000.0 + seconds
            progress(done, total)
    return stream.getvalue()


def test_a_log_has_a_line_each_half_minute():
    lines = told((1, 10, 1000), (20, 200, 1000), (31, 310, 1000), (40, 400, 1000), (60.9, 600, 1000), (61, 610, 1000))
    assert lines.splitlines() == [
        "geodit: 310 of 1,000 tiles, 10.0 tiles/s, 69 s left",
        "geodit: 610 of 1,000 tiles, 10.0 tiles/s, 39 s left",
    ]


def test_a_job_that_is_done_soon_has_no_line():
    assert told((1, 1, 2), (29, 2, 2)) == ""


def test_tiles_of_an_earlier_run_say_nothing_of_the_speed():
    """A job that goes on at tile 900 has not done these in a second."""
    (line,) = told((0, 900, 1000), (30, 930, 1000)).splitlines()
    assert line == "geodit: 930 of 1,000 tiles, 1.0 tiles/s, 70 s left"


def test_the_first_line_may_come_before_there_is_a_speed():
    assert told((45, 64, 6400)) == "geodit: 64 of 6,400 tiles\n"


@pytest.mark.parametrize(
    ("done", "total", "speed", "line"),
    [
        (0, 10, 0.0, "0 of 10 tiles"),
        (1, 10, 0.1, "1 of 10 tiles, 0.1 tiles/s, 2 min left"),
        (10, 1_234_567, 100.0, "10 of 1,234,567 tiles, 100.0 tiles/s, 3.4 h left"),
        (10, 10, 2.0, "10 of 10 tiles, 2.0 tiles/s, 0 s left"),
    ],
)
def test_a_line_says_how_long_it_will_take(done, total, speed, line):
    assert describe(done, total, speed) == line


def test_a_terminal_has_a_bar_with_a_speed():
    shown = told((0, 0, 40), (2, 10, 40), (4, 20, 40), stream=Terminal())
    assert "20/40" in shown
    assert "5.0/s" in shown
    assert "geodit:" not in shown


def test_a_terminal_without_tiles_has_no_bar():
    assert "tiles" not in told(stream=Terminal())


def interrupted(terminal):
    with TileProgress(terminal) as progress:
        progress(1, 2)
        raise KeyboardInterrupt


def test_the_bar_is_gone_after_an_interruption():
    terminal = Terminal()
    with pytest.raises(KeyboardInterrupt):
        interrupted(terminal)
    assert "1/2" in terminal.getvalue()
    # The last that is written makes the cursor visible and clears the line.
    assert terminal.getvalue().endswith("\x1b[2K")
