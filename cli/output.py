# SPDX-License-Identifier: Apache-2.0
"""What the commands print and write."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.text import Text

from geodit.cli.errors import CommandError
from geodit.cli.terminal import can_show
from geodit.configuration.files_geodit import write_atomically

if TYPE_CHECKING:
    from PIL import Image
    from rich.progress import Progress, ProgressColumn


def results_console() -> Console:
    """Return the console for results: stdout, without colors if it is no terminal, in ASCII if it has nothing else."""
    return Console(file=sys.stdout)


def hide_library_bars() -> None:
    """Hide the progress bars of datasets and Transformers, which count other things than the command does."""
    import datasets
    from transformers.utils import logging

    datasets.disable_progress_bars()
    logging.disable_progress_bar()


def progress_bar() -> "Progress":
    """Return a progress bar on stderr that is erased at the end; it shows nothing if stderr is no terminal."""
    from rich.progress import MofNCompleteColumn

    return _progress_bar(MofNCompleteColumn())


def bytes_progress_bar() -> "Progress":
    """Return a progress bar that counts bytes; otherwise as [`progress_bar`]."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    return _progress_bar(DownloadColumn(), TransferSpeedColumn())


def tiles_progress_bar(stream: TextIO) -> "Progress":
    """Return a progress bar that counts tiles and shows the field `speed` of its task; otherwise as [`progress_bar`].

    Args:
        stream: Where to, in place of stderr.
    """
    from rich.progress import MofNCompleteColumn, TextColumn

    return _progress_bar(MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), stream=stream)


def _progress_bar(*counters: "ProgressColumn", stream: TextIO | None = None) -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=stream or sys.stderr)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *counters,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def plain(text: str) -> Text:
    """Return a text of unknown content for a table: no markup, and nothing that a terminal would act on."""
    return Text("".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text))


def reporter(progress: "Progress", description: str) -> Callable[[int, int], None]:
    """Add a bar and return the function to call with the amount done and the total."""
    bar = progress.add_task(description, total=None)

    def report(done: int, total: int) -> None:
        progress.update(bar, completed=done, total=total)

    return report


def to_json(document: object) -> str:
    """Format a JSON document as the commands print and write it.

    Bytes of file names that are no text stand as escapes, so that the document is text.

    Raises:
        ValueError: If it holds NaN or infinity, which JSON does not have.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # of half a surrogate pair this makes an escape of JSON


def print_json(document: object) -> None:
    """Print a JSON document to stdout, with escapes for what the terminal cannot show."""
    text = to_json(document)
    if not can_show(text, sys.stdout):
        text = json.dumps(document, indent=2) + "\n"
    sys.stdout.write(text)
    sys.stdout.flush()


def check_can_write(path: Path) -> None:
    """Check before long work whether its result can be written.

    Raises:
        CommandError: If the directory of `path` does not exist or cannot be written to, or `path` is something else
            than a file, such as a directory, a named pipe or a device.
    """
    from geodit.configuration.text_files import check_regular_file

    try:
        check_regular_file(path)
    except FileNotFoundError:
        pass  # as it should be
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise CommandError(f"cannot write {str(error).partition(': give')[0]}, not a file to write") from error
    if not path.parent.is_dir():
        raise CommandError(f"cannot write {path}: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise CommandError(f"cannot write {path}: no permission to write to {path.parent}")


def make_directory(path: Path) -> None:
    """Make the directory that results go to, unless it exists.

    Raises:
        CommandError: If it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise CommandError(f"{path} is a file: give a directory") from error
    except OSError as error:
        raise CommandError(f"cannot make the directory {path}: {error.strerror or error}") from error


def write_output(path: Path, content: bytes) -> None:
    """Write a result completely, or leave what was there before. A link stays a link.

    Raises:
        CommandError: If it cannot be written, for instance because the disk is full.
    """
    check_can_write(path)
    try:
        write_atomically(path.resolve(), content)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror or error}") from error


def png_bytes(picture: "Image.Image") -> bytes:
    """Encode a picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
