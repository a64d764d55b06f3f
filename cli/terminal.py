# SPDX-License-Identifier: Apache-2.0
"""What a terminal takes: arguments that are no text, and characters that its encoding lacks."""

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

from geodit.cli.errors import CommandError, CommandGroup

_HANDLER = "geodit.terminal"
# What an error of encoding is by default: an exception, or a byte that no reader expects.
_UNREADABLE = ("strict", "surrogateescape")
# What stands for characters that our own tables and messages have.
_IN_ASCII = {
    "\N{PLUS-MINUS SIGN}": "+/-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{BULLET}": "*",
    "\N{REPLACEMENT CHARACTER}": "?",
}


class TerminalGroup(CommandGroup):
    """The root of the commands, on a terminal of any encoding."""

    def main(self, *arguments: Any, **options: Any) -> object:
        """Run the program; see `CommandGroup`."""
        with readable_output():
            return super().main(*arguments, **options)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments; see `typer.core.TyperGroup`."""
        check_arguments(args)
        return super().parse_args(ctx, args)


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses an argument that is not text in the encoding of this system, unless it is the name of a file.

    Raises:
        CommandError: If there is one.
    """
    for position, argument in enumerate(arguments, start=1):
        if not can_encode(argument, "utf-8") and not os.path.lexists(argument):
            raise CommandError(
                f"argument {position} is not text in the encoding of this terminal: {argument!a:.200}; use a terminal "
                "and a locale of UTF-8, such as LC_ALL=C.UTF-8"
            )


@contextlib.contextmanager
def readable_output() -> Iterator[None]:
    r"""Write something else, meanwhile, for characters that stdout and stderr cannot encode.

    The plus-minus sign of a table becomes `+/-`, and a letter of an answer an escape such as `\xe9`. A stream that
    was told what to do with such characters does that.
    """
    changed = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in _UNREADABLE:
            changed.append((stream, stream.errors))
            stream.reconfigure(errors=_HANDLER)
    try:
        yield
    finally:
        for stream, errors in changed:
            # It may be closed by now, or nobody may read it any more.
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors=errors)


def can_show(text: str, stream: TextIO) -> bool:
    """Return whether a stream has all characters of a text."""
    return can_encode(text, getattr(stream, "encoding", None) or "utf-8")


def can_encode(text: str, encoding: str) -> bool:
    """Return whether an encoding has all characters of a text."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _write_in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    written = (_IN_ASCII.get(one) or one.encode("ascii", "backslashreplace").decode() for one in characters)
    return "".join(written), error.end


codecs.register_error(_HANDLER, _write_in_ascii)
