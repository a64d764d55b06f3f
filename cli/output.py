# SPDX-License-Identifier: Apache-2.0
"""What the commands print and write."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text

from geodit.cli.errors import CommandError

if TYPE_CHECKING:
    from PIL import Image
    from rich.progress import Progress, ProgressColumn


def results_console() -> Console:
    """Where results go: stdout, without colors when it is no terminal."""
    return Console()


def progress_bar() -> "Progress":
    """A progress bar on stderr that leaves nothing behind; none if stderr is no terminal."""
    from rich.progress import MofNCompleteColumn

    return _progress_bar(MofNCompleteColumn())


def bytes_progress_bar() -> "Progress":
    """A progress bar that counts bytes; otherwise as [`progress_bar`]."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    return _progress_bar(DownloadColumn(), TransferSpeedColumn())


def _progress_bar(*counters: "ProgressColumn") -> "Progress":
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
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
    """A text of unknown content for a table: no markup, and nothing that a terminal would act on."""
    return Text("".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text))


def reporter(progress: "Progress", description: str) -> Callable[[int, int], None]:
    """Adds a bar, and gives what to call with how much is done of how much."""
    bar = progress.add_task(description, total=None)

    def report(done: int, total: int) -> None:
        progress.update(bar, completed=done, total=total)

    return report


def to_json(document: Any) -> str:
    """A JSON document as the commands print and write it.

    Raises:
        ValueError: If it holds NaN or infinity, which JSON does not have.
    """
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def print_json(document: Any) -> None:
    """Prints a JSON document to stdout."""
    typer.echo(to_json(document), nl=False)


def check_can_write(path: Path) -> None:
    """Finds out before long work whether its result can be written.

    Raises:
        CommandError: If the directory of `path` does not exist or cannot be written to, or `path` is one.
    """
    if path.is_dir():
        raise CommandError(f"{path} is a directory, not a file to write")
    if not path.parent.is_dir():
        raise CommandError(f"cannot write {path}: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise CommandError(f"cannot write {path}: no permission to write to {path.parent}")


def png_bytes(picture: "Image.Image") -> bytes:
    """A picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
